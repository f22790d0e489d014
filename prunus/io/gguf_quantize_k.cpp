// The K types: 256 values in groups of 16 or 32, each with an integer scale (and minimum) that the
// block's half d (and dmin) multiply. What is sought are the codes, integers and halves for which
// the weighted squared error is small:
//  1. each group alone, in real numbers: codes for some twenty starting scales, scale and minimum
//     by least squares for each, the best one improved by turns (codes, least squares);
//  2. d from the largest scale; each group's integers: the nearest and their neighbours, those with
//     the least error;
//  3. d and dmin by least squares for these codes and integers; kept where the error falls.
// Compiled with -ffp-contract=off (CMakeLists.txt).
#include "prunus/io/gguf_quantize_k.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "prunus/io/gguf_half.h"

namespace prunus::gguf_k {
namespace {

using Byte = uint8_t;

constexpr int kBlock = 256;
constexpr int kLanes = 8;    // of a sum, so that a compiler can use vector instructions
constexpr int kStarts = 10;  // starting scales on either side of the plain one
constexpr float kStartStep = 0.1F;
constexpr int kTurns = 2;
constexpr int kRefits = 1;

// x ≈ scale · code − minimum.
struct Affine {
  float scale = 0;
  float minimum = 0;
};

// Codes of `size` values: (x + minimum) / scale rounded, between least and most.
template <int size>
void find_codes(const float* x, Affine fit, int least, int most, float* codes) {
  const float inverse = 1.0F / fit.scale;
  if (fit.scale == 0 || !std::isfinite(inverse)) {
    std::fill(codes, codes + size, 0.0F);
    return;
  }
  const float shift = 0.5F - static_cast<float>(least);
  const auto top = static_cast<float>(most - least);
  for (int i = 0; i < size; ++i) {
    const float at = (x[i] + fit.minimum) * inverse + shift;
    // Not negative after max, so that cutting off the fraction rounds down.
    codes[i] = static_cast<float>(static_cast<int>(std::min(std::max(at, 0.0F), top)) + least);
  }
}

// A family of groups: `size` values, codes from `least` to `most`; with or without a minimum.
template <int size_, int least_, int most_, bool minima_>
struct Kind {
  static constexpr int size = size_;
  static constexpr int least = least_;
  static constexpr int most = most_;
  static constexpr bool minima = minima_;
  static constexpr int groups = kBlock / size;
};

using Lanes = std::array<float, kLanes>;

float total(Lanes lanes) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

// The weighted squared error of the codes that `fit` gives, without storing them.
template <typename K>
float error_of(const float* x, const float* w, Affine fit) {
  std::array<float, K::size> codes;
  find_codes<K::size>(x, fit, K::least, K::most, codes.data());
  Lanes sum{};
  for (int i = 0; i < K::size; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const auto at = static_cast<size_t>(i + k);
      const float difference = fit.scale * codes[at] - fit.minimum - x[at];
      sum[static_cast<size_t>(k)] += w[at] * difference * difference;
    }
  }
  return total(sum);
}

// Weighted sums of a group that do not depend on codes.
struct Constants {
  float w = 0;
  float x = 0;
  float xx = 0;
};

template <typename K>
Constants constants_of(const float* x, const float* w) {
  Constants sums;
  for (int i = 0; i < K::size; ++i) {
    sums.w += w[i];
    sums.x += w[i] * x[i];
    sums.xx += w[i] * x[i] * x[i];
  }
  return sums;
}

// Weighted sums of codes, codes times values, squared codes.
struct Sums {
  float q = 0;
  float xq = 0;
  float qq = 0;
};

template <typename K>
Sums sums_of(const float* x, const float* w, Affine fit) {
  std::array<float, K::size> codes;
  find_codes<K::size>(x, fit, K::least, K::most, codes.data());
  Lanes q{};
  Lanes xq{};
  Lanes qq{};
  for (int i = 0; i < K::size; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const auto at = static_cast<size_t>(i + k);
      const auto lane = static_cast<size_t>(k);
      const float wq = w[at] * codes[at];
      q[lane] += wq;
      xq[lane] += wq * x[at];
      qq[lane] += wq * codes[at];
    }
  }
  return {total(q), total(xq), total(qq)};
}

Affine without_minimum(const Sums& sums) { return {sums.qq > 0 ? sums.xq / sums.qq : 0.0F, 0.0F}; }

// Least squares for given codes. Minima of the format are not negative.
Affine fit_both(const Constants& of, const Sums& sums) {
  const double determinant = double{of.w} * sums.qq - double{sums.q} * sums.q;
  if (determinant <= 1e-6 * of.w * sums.qq) return without_minimum(sums);
  const double scale = (double{of.w} * sums.xq - double{of.x} * sums.q) / determinant;
  const double minimum = (double{sums.q} * sums.xq - double{sums.qq} * of.x) / determinant;
  if (minimum < 0 || scale < 0) return without_minimum(sums);
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

// What `fit` makes of the codes that are behind the sums.
double error_from(const Constants& of, const Sums& sums, Affine fit) {
  const double s = fit.scale;
  const double m = fit.minimum;
  return of.xx - 2 * s * sums.xq + 2 * m * of.x + s * s * sums.qq - 2 * s * m * sums.q +
         m * m * of.w;
}

// Scale and minimum of one group, in real numbers.
template <typename K>
class GroupFit {
 public:
  GroupFit(const float* x, const float* w) : x_(x), w_(w), of_(constants_of<K>(x, w)) {}

  // Step 1.
  Affine best() {
    const auto [low, high] = std::minmax_element(x_, x_ + K::size);
    if (K::minima) {
      try_affine(*low, *high);
    } else {
      try_symmetric(-*low > *high ? *low : *high);
    }
    for (int turn = 1; turn < kTurns; ++turn) try_start(best_);
    return best_;
  }

 private:
  void try_affine(float low, float high) {
    best_.minimum = std::max(0.0F, -low);
    error_ = of_.xx + 2.0 * best_.minimum * of_.x + double{best_.minimum} * best_.minimum * of_.w;
    const float width = high + best_.minimum;
    const float minimum = best_.minimum;
    if (width <= 0) return;
    for (int i = -kStarts; i <= kStarts; ++i) {
      const float steps = static_cast<float>(K::most) + static_cast<float>(i) * kStartStep;
      try_start({width / steps, minimum});
    }
  }

  void try_symmetric(float extreme) {
    error_ = of_.xx;
    if (extreme == 0) return;
    for (int i = -kStarts; i <= kStarts; ++i) {
      const float more = static_cast<float>(i) * kStartStep;
      try_start({extreme / (static_cast<float>(K::least) + more), 0});
      // With many codes, one more on one side decides nothing.
      if (K::most < 8) try_start({extreme / (static_cast<float>(K::most) + more), 0});
    }
  }

  // Codes for `start`, least squares for the codes.
  void try_start(Affine start) {
    const Sums sums = sums_of<K>(x_, w_, start);
    const Affine fit = K::minima ? fit_both(of_, sums) : without_minimum(sums);
    const double error = error_from(of_, sums, fit);
    if (error >= error_) return;
    best_ = fit;
    error_ = error;
  }

  const float* x_;
  const float* w_;
  Constants of_;
  Affine best_;
  double error_ = 0;
};

// A block: integers of each group, what multiplies them (as halves), and codes.
template <typename K>
struct Block {
  float d = 0;
  float dmin = 0;
  std::array<int, K::groups> scales{};
  std::array<int, K::groups> minima{};
  std::array<float, kBlock> codes{};
  float error = 0;

  // As dequantised: the products are rounded to FP32.
  Affine group(int g) const {
    const auto at = static_cast<size_t>(g);
    return {d * static_cast<float>(scales[at]), dmin * static_cast<float>(minima[at])};
  }
};

// What the integers of a block may be.
struct Limits {
  int least_scale;
  int most_scale;
  int most_minimum;
};

// `value` as a half. The smallest halves are far apart: one well below `value` would cut off what
// is largest, so the next one is taken there.
float factor_of(float value) {
  const float half = through_half(value);
  if (std::fabs(half) >= 0.999F * std::fabs(value)) return half;
  const auto next = static_cast<uint16_t>(half_bits(value) + 1);
  return static_cast<float>(c10::Half(next, c10::Half::from_bits()));
}

int nearest(float value, float unit, int least, int most) {
  if (unit == 0) return 0;
  const float ratio = value / unit;
  if (!(std::fabs(ratio) < 1e6F)) return ratio > 0 ? most : least;
  return std::clamp(static_cast<int>(std::lrint(ratio)), least, most);
}

// Step 2 for one group: integers near those that `fit` asks for. → its error.
template <typename K>
float choose_integers(const float* x, const float* w, Affine fit, const Limits& limits,
                      Block<K>& block, int g) {
  const auto at = static_cast<size_t>(g);
  const int scale = nearest(fit.scale, block.d, limits.least_scale, limits.most_scale);
  const int minimum = nearest(fit.minimum, block.dmin, 0, limits.most_minimum);
  float best_error = INFINITY;
  std::array<int, 2> best{scale, minimum};
  const int around = K::minima ? 1 : 0;
  for (int s = scale - 1; s <= scale + 1; ++s) {
    if (s < limits.least_scale || s > limits.most_scale) continue;
    for (int m = minimum - around; m <= minimum + around; ++m) {
      if (m < 0 || m > limits.most_minimum) continue;
      block.scales[at] = s;
      block.minima[at] = m;
      const float error = error_of<K>(x, w, block.group(g));
      if (error >= best_error) continue;
      best_error = error;
      best = {s, m};
    }
  }
  block.scales[at] = best[0];
  block.minima[at] = best[1];
  find_codes<K::size>(x, block.group(g), K::least, K::most, block.codes.data() + g * K::size);
  return best_error;
}

// Step 3: d and dmin for given integers and codes, by least squares over the whole block.
template <typename K>
Affine fit_block(const float* x, const float* w, const Block<K>& block) {
  double aa = 0;
  double ab = 0;
  double bb = 0;
  double ax = 0;
  double bx = 0;
  for (int g = 0; g < K::groups; ++g) {
    const int begin = g * K::size;
    const Constants of = constants_of<K>(x + begin, w + begin);
    const Sums sums = sums_of<K>(x + begin, w + begin, block.group(g));
    const double s = block.scales[static_cast<size_t>(g)];
    const double m = -block.minima[static_cast<size_t>(g)];
    aa += s * s * sums.qq;
    ab += s * m * sums.q;
    bb += m * m * of.w;
    ax += s * sums.xq;
    bx += m * of.x;
  }
  if (aa <= 0) return {block.d, block.dmin};
  const double determinant = aa * bb - ab * ab;
  if (!K::minima || determinant <= 1e-9 * aa * bb) {
    return {static_cast<float>((ax - ab * block.dmin) / aa), block.dmin};
  }
  const double dmin = (aa * bx - ab * ax) / determinant;
  if (dmin < 0) return {static_cast<float>(ax / aa), 0};
  return {static_cast<float>((bb * ax - ab * bx) / determinant), static_cast<float>(dmin)};
}

template <typename K>
void choose_all_integers(const float* x, const float* w, const std::array<Affine, K::groups>& fits,
                         const Limits& limits, Block<K>& block) {
  block.error = 0;
  for (int g = 0; g < K::groups; ++g) {
    block.error += choose_integers(x + g * K::size, w + g * K::size, fits[static_cast<size_t>(g)],
                                   limits, block, g);
  }
}

// Far above what any block holds, and far below where squares overflow.
void check_range(const float* x) {
  for (int i = 0; i < kBlock; ++i) {
    PRUNUS_CHECK(std::fabs(x[i]) < 1e15F, Numeric, "the value ", x[i],
                 " needs a scale beyond the range of a half; write this tensor as F32 or BF16");
  }
}

template <typename K>
Block<K> fit_values(const float* x, const float* w, const Limits& limits) {
  check_range(x);
  std::array<Affine, K::groups> fits;
  Affine largest;
  for (int g = 0; g < K::groups; ++g) {
    const Affine fit = GroupFit<K>(x + g * K::size, w + g * K::size).best();
    fits[static_cast<size_t>(g)] = fit;
    if (std::fabs(fit.scale) > std::fabs(largest.scale)) largest.scale = fit.scale;
    largest.minimum = std::max(largest.minimum, fit.minimum);
  }
  Block<K> best;
  // The scale furthest from 0 gets the integer furthest from 0.
  const int furthest =
      -limits.least_scale > limits.most_scale ? limits.least_scale : limits.most_scale;
  best.d = factor_of(largest.scale / static_cast<float>(furthest));
  best.dmin = factor_of(largest.minimum / static_cast<float>(limits.most_minimum));
  choose_all_integers(x, w, fits, limits, best);
  for (int i = 0; i < kRefits; ++i) {
    const Affine fit = fit_block(x, w, best);
    Block<K> next = best;
    next.d = through_half(fit.scale);
    next.dmin = through_half(fit.minimum);
    if (next.d == best.d && next.dmin == best.dmin) break;
    choose_all_integers(x, w, fits, limits, next);
    if (next.error >= best.error) break;
    best = next;
  }
  return best;
}

template <typename K>
int code(const Block<K>& block, int i) {
  return static_cast<int>(block.codes[static_cast<size_t>(i)]);
}

// Two bits of each code: two times 32 bytes, each for 128 values.
template <typename K>
void store_two_bits(const Block<K>& block, int shift, int offset, Byte* to) {
  for (int i = 0; i < kBlock; ++i) {
    const int bits = (code(block, i) + offset) >> shift & 3;
    to[i / 128 * 32 + i % 32] |= static_cast<Byte>(bits << (i % 128 / 32 * 2));
  }
}

// One bit of each code: byte i mod 32, bit i / 32.
template <typename K>
void store_one_bit(const Block<K>& block, int shift, int offset, Byte* to) {
  for (int i = 0; i < kBlock; ++i) {
    const int bit = (code(block, i) + offset) >> shift & 1;
    to[i % 32] |= static_cast<Byte>(bit << i / 32);
  }
}

// Four bits of each code, `span` bytes for 2 · span values, the lower half of them in low bits.
template <typename K>
void store_four_bits(const Block<K>& block, int span, int offset, Byte* to) {
  for (int i = 0; i < kBlock; ++i) {
    const int bits = (code(block, i) + offset) & 15;
    to[i / (2 * span) * span + i % span] |= static_cast<Byte>(bits << (i / span % 2 * 4));
  }
}

// Scales and minima of eight groups, six bits each, in 12 bytes.
template <typename K>
void store_six_bits(const Block<K>& block, Byte* to) {
  for (size_t g = 0; g < 4; ++g) {
    to[g] = static_cast<Byte>(block.scales[g] | block.scales[g + 4] >> 4 << 6);
    to[g + 4] = static_cast<Byte>(block.minima[g] | block.minima[g + 4] >> 4 << 6);
    to[g + 8] = static_cast<Byte>((block.scales[g + 4] & 15) | (block.minima[g + 4] & 15) << 4);
  }
}

}  // namespace

void quantize_q2_k(const float* from, const float* weights, Byte* to) {
  using K = Kind<16, 0, 3, true>;
  const Block<K> block = fit_values<K>(from, weights, {0, 15, 15});
  std::memset(to, 0, 84);
  for (size_t g = 0; g < 16; ++g) {
    to[g] = static_cast<Byte>(block.scales[g] | block.minima[g] << 4);
  }
  store_two_bits(block, 0, 0, to + 16);
  store_half(block.d, to + 80);
  store_half(block.dmin, to + 82);
}

void quantize_q3_k(const float* from, const float* weights, Byte* to) {
  using K = Kind<16, -4, 3, false>;
  const Block<K> block = fit_values<K>(from, weights, {-32, 31, 1});
  std::memset(to, 0, 110);
  store_one_bit(block, 2, 4, to);
  store_two_bits(block, 0, 4, to + 32);
  for (size_t g = 0; g < 16; ++g) {
    const int scale = block.scales[g] + 32;
    to[96 + g % 8] |= static_cast<Byte>((scale & 15) << (g / 8 * 4));
    to[104 + g % 4] |= static_cast<Byte>(scale >> 4 << (g / 4 * 2));
  }
  store_half(block.d, to + 108);
}

void quantize_q4_k(const float* from, const float* weights, Byte* to) {
  using K = Kind<32, 0, 15, true>;
  const Block<K> block = fit_values<K>(from, weights, {0, 63, 63});
  std::memset(to, 0, 144);
  store_half(block.d, to);
  store_half(block.dmin, to + 2);
  store_six_bits(block, to + 4);
  store_four_bits(block, 32, 0, to + 16);
}

void quantize_q5_k(const float* from, const float* weights, Byte* to) {
  using K = Kind<32, 0, 31, true>;
  const Block<K> block = fit_values<K>(from, weights, {0, 63, 63});
  std::memset(to, 0, 176);
  store_half(block.d, to);
  store_half(block.dmin, to + 2);
  store_six_bits(block, to + 4);
  store_one_bit(block, 4, 0, to + 16);
  store_four_bits(block, 32, 0, to + 48);
}

void quantize_q6_k(const float* from, const float* weights, Byte* to) {
  using K = Kind<16, -32, 31, false>;
  const Block<K> block = fit_values<K>(from, weights, {-128, 127, 1});
  std::memset(to, 0, 210);
  store_four_bits(block, 64, 32, to);
  store_two_bits(block, 4, 32, to + 128);
  for (size_t g = 0; g < 16; ++g) to[192 + g] = static_cast<Byte>(block.scales[g]);
  store_half(block.d, to + 208);
}

}  // namespace prunus::gguf_k
