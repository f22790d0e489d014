#include "prunus/model/positions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/parallel.h"

namespace prunus {
namespace {

// Waves longer than the old context are slowed by `factor`, short ones kept, a ramp between.
double llama3_frequency(const Rope& rope, double frequency) {
  const double turns = static_cast<double>(rope.original_max_position_embeddings) * frequency /
                       (2 * std::numbers::pi);
  const double ramp = std::clamp(
      (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
  return frequency * (ramp + (1 - ramp) / rope.factor);
}

// The pair whose wave turns `turns` times within the original context.
double yarn_pair(const Rope& rope, double turns, int64_t dim) {
  const auto context = static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(dim) * std::log(context / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

double yarn_frequency(const Rope& rope, double frequency, int64_t pair, int64_t dim) {
  double low = yarn_pair(rope, rope.beta_fast, dim);
  double high = yarn_pair(rope, rope.beta_slow, dim);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
  return frequency * (1 - ramp) + frequency / rope.factor * ramp;
}

// The base grows once the sequence is longer than the model's context.
double dynamic_theta(const Rope& rope, int64_t length, int64_t dim) {
  const auto context = static_cast<double>(rope.original_max_position_embeddings);
  const double seen = std::max(static_cast<double>(length), context);
  const auto d = static_cast<double>(dim);
  return rope.theta * std::pow(rope.factor * seen / context - (rope.factor - 1), d / (d - 2));
}

// Channels of a head that are rotated, before any of it was cut.
int64_t rotated_dim(const ModelConfig& config) {
  if (config.rotary_dim != 0) return config.rotary_dim;
  return config.rope_head_dim != 0 ? config.rope_head_dim : config.head_dim;
}

}  // namespace

at::Tensor rope_frequencies(const ModelConfig& config, int layer, int64_t length) {
  const Rope& rope = config.rope_of(layer);
  const int64_t dim = rotated_dim(config);
  const auto place = static_cast<size_t>(layer);
  const std::vector<int64_t> all;
  const auto& kept = place < config.layers.size() ? config.layers[place].rope_pairs : all;
  const bool is_long = length > rope.original_max_position_embeddings;
  const std::vector<double>& stretch = is_long ? rope.long_factor : rope.short_factor;
  const double theta =
      rope.kind == Rope::Kind::Dynamic ? dynamic_theta(rope, length, dim) : rope.theta;
  const int64_t channels = config.rotary_dim != 0 ? config.rotary_dim : config.head_dim;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < channels / 2; ++i) {
    const int64_t pair = kept.empty() ? i : kept[static_cast<size_t>(i)];
    const double exponent = static_cast<double>(2 * pair) / static_cast<double>(dim);
    double frequency = 1.0 / std::pow(theta, exponent);
    if (rope.kind == Rope::Kind::Linear) frequency /= rope.factor;
    if (rope.kind == Rope::Kind::Llama3) frequency = llama3_frequency(rope, frequency);
    if (rope.kind == Rope::Kind::Yarn) frequency = yarn_frequency(rope, frequency, pair, dim);
    if (rope.kind == Rope::Kind::Longrope) frequency /= stretch.at(static_cast<size_t>(pair));
    frequencies.push_back(static_cast<float>(frequency));
  }
  return at::tensor(frequencies);
}

at::Tensor alibi_slopes(int64_t heads) {
  int64_t power = 1;
  while (2 * power <= heads) power *= 2;
  std::vector<float> slopes;
  for (int64_t head = 0; head < heads; ++head) {
    const double steps =
        head < power
            ? 8.0 * static_cast<double>(head + 1) / static_cast<double>(power)
            : 4.0 * static_cast<double>(2 * (head - power) + 1) / static_cast<double>(power);
    slopes.push_back(static_cast<float>(std::pow(2.0, -steps)));
  }
  return at::tensor(slopes);
}

namespace {

// Rotates the pairs (2i, 2i + 1), as rotate() does others.
at::Tensor rotate_neighbours(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor pairs = x.unflatten(-1, {-1, 2});
  const at::Tensor first = pairs.select(-1, 0);
  const at::Tensor second = pairs.select(-1, 1);
  return at::stack({first * cos - second * sin, second * cos + first * sin}, -1).flatten(-2);
}

using Lanes = float __attribute__((vector_size(16)));
using Unaligned __attribute__((vector_size(16), aligned(4), may_alias)) = float;
constexpr int64_t kLanes = 4;

// to[i], to[half + i] = x[i], x[half + i] turned by angle i.
void turn_halves(const float* x, const float* cos, const float* sin, int64_t half, float* to) {
  const auto load = [](const float* from) -> Lanes {
    return *reinterpret_cast<const Unaligned*>(from);
  };
  const auto store = [](float* at, Lanes value) { *reinterpret_cast<Unaligned*>(at) = value; };
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Lanes first = load(x + i), second = load(x + half + i);
    const Lanes c = load(cos + i), s = load(sin + i);
    store(to + i, first * c - second * s);
    store(to + half + i, second * c + first * s);
  }
  for (; i < half; ++i) {
    const float first = x[i], second = x[half + i];
    to[i] = first * cos[i] - second * sin[i];
    to[half + i] = second * cos[i] + first * sin[i];
  }
}

bool turned_in_one_pass(const at::Tensor& x, const at::Tensor& cos) {
  const bool trained = at::GradMode::is_enabled() && x.requires_grad();
  return x.is_cpu() && !trained && x.scalar_type() == at::kFloat &&
         cos.scalar_type() == at::kFloat && x.stride(-1) == 1;
}

// The first and the second half of the rotated channels, in one pass: seven operators, each on
// pieces of half a head, take several times as long.
at::Tensor rotate_halves(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  constexpr int64_t kPlaces = 32;  // of a piece of work
  const int64_t heads = x.size(1), seq = x.size(2), half = cos.size(-1);
  const int64_t rest = x.size(3) - 2 * half;
  const at::Tensor c = cos.expand({x.size(0), 1, seq, half}).contiguous();
  const at::Tensor s = sin.expand({x.size(0), 1, seq, half}).contiguous();
  // Places outside heads, as the projection writes them.
  at::Tensor out = at::empty({x.size(0), seq, heads, x.size(3)}, x.options());
  const auto *from = x.const_data_ptr<float>(), *cosines = c.const_data_ptr<float>();
  const auto* sines = s.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const int64_t places = x.size(0) * seq;
  for_each_parallel((places + kPlaces - 1) / kPlaces, [&](int64_t piece) {
    const int64_t end = std::min(places, (piece + 1) * kPlaces);
    for (int64_t place = piece * kPlaces; place < end; ++place) {
      const float* row = from + place / seq * x.stride(0) + place % seq * x.stride(2);
      for (int64_t head = 0; head < heads; ++head) {
        const float* channels = row + head * x.stride(1);
        float* turned = to + (place * heads + head) * x.size(3);
        turn_halves(channels, cosines + place * half, sines + place * half, half, turned);
        std::copy_n(channels + 2 * half, rest, turned + 2 * half);
      }
    }
  });
  return out.transpose(1, 2);
}

}  // namespace

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool neighbours) {
  if (!neighbours && turned_in_one_pass(x, cos)) return rotate_halves(x, cos, sin);
  const int64_t rotated = 2 * cos.size(-1);
  if (rotated < x.size(-1)) {
    const at::Tensor rest = x.narrow(-1, rotated, x.size(-1) - rotated);
    return at::cat({rotate(x.narrow(-1, 0, rotated), cos, sin, neighbours), rest}, -1);
  }
  if (neighbours) return rotate_neighbours(x, cos, sin);
  const int64_t half = x.size(-1) / 2;
  const at::Tensor first = x.narrow(-1, 0, half);
  const at::Tensor second = x.narrow(-1, half, half);
  return at::cat({first * cos - second * sin, second * cos + first * sin}, -1);
}

at::Tensor alibi_bias(const ModelConfig& config, const LayerShape& shape, const at::Tensor& queries,
                      const at::Tensor& keys, const at::Tensor& visible) {
  at::Tensor slopes = alibi_slopes(config.alibi_heads);
  if (!shape.alibi_heads.empty()) {
    slopes = slopes.index_select(0, at::tensor(shape.alibi_heads, at::kLong));
  }
  const at::Tensor distance = (keys.unsqueeze(-2) - queries.unsqueeze(-1)).to(at::kFloat);
  const at::Tensor bias = slopes.to(queries.device()).view({1, -1, 1, 1}) *
                          distance.view({-1, 1, distance.size(-2), distance.size(-1)});
  return bias.masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity());
}

int64_t longest_sequence(const ModelConfig& config) {
  const auto context = config.max_position_embeddings;
  if (config.rope.kind != Rope::Kind::Dynamic) return context;
  constexpr double kMost = 1 << 30;
  return static_cast<int64_t>(
      std::min(kMost, std::floor(static_cast<double>(context) * config.rope.factor)));
}

Rotation rotation_of(const ModelConfig& config, int layer, const at::Tensor& places, int64_t length,
                     const at::TensorOptions& options) {
  const at::Tensor angles =
      places.to(options).unsqueeze(-1) * rope_frequencies(config, layer, length).to(options);
  const double amplitude = config.rope_of(layer).attention_factor;
  if (amplitude == 1.0) return {angles.cos(), angles.sin()};
  return {angles.cos() * amplitude, angles.sin() * amplitude};
}

namespace {

// Whether two layers of a model turn equal places alike.
bool turn_alike(const ModelConfig& config, int one, int other) {
  const auto pairs = [&](int layer) {
    const auto place = static_cast<size_t>(layer);
    return place < config.layers.size() ? config.layers[place].rope_pairs : std::vector<int64_t>();
  };
  return one == other ||
         (config.rope_of(one) == config.rope_of(other) && pairs(one) == pairs(other));
}

}  // namespace

template <typename Compute>
Rotation RotationCache::find_or(Kept wanted, Compute compute) {
  constexpr size_t kMostKept = 4;
  const auto same = [&](const Kept& one) {
    return one.config == wanted.config && one.first == wanted.first &&
           one.length == wanted.length && one.type == wanted.type && one.device == wanted.device &&
           one.places.is_same(wanted.places) && turn_alike(*one.config, one.layer, wanted.layer);
  };
  {
    const std::lock_guard lock(lock_);
    const auto found = std::find_if(kept_.rbegin(), kept_.rend(), same);
    if (found != kept_.rend()) return found->rotation;
  }
  wanted.rotation = compute();
  const std::lock_guard lock(lock_);
  kept_.push_back(wanted);
  if (kept_.size() > kMostKept) kept_.pop_front();
  return wanted.rotation;
}

Rotation RotationCache::of_run(const ModelConfig& config, int layer, int64_t first, int64_t end,
                               const at::TensorOptions& options) {
  const at::Device device = options.device();
  return find_or(
      {&config, layer, {}, first, end, at::typeMetaToScalarType(options.dtype()), device, {}}, [&] {
        const at::Tensor places =
            at::arange(first, end, at::TensorOptions().dtype(at::kLong).device(device));
        return rotation_of(config, layer, places, end, options);
      });
}

Rotation RotationCache::of_places(const ModelConfig& config, int layer, const at::Tensor& places,
                                  int64_t length, const at::TensorOptions& options) {
  return find_or({&config,
                  layer,
                  places,
                  0,
                  length,
                  at::typeMetaToScalarType(options.dtype()),
                  options.device(),
                  {}},
                 [&] { return rotation_of(config, layer, places.unsqueeze(1), length, options); });
}

}  // namespace prunus
