#include "prunus/solve/pattern.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <type_traits>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr int64_t kLargestGroup = 64;

// The same order as that of the values, as numbers.
uint32_t order_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

// The value with `rank` lower ones or equals in front of it, by sorting only the scores that share
// its first bits.
float value_at(const float* scores, int64_t count, int64_t rank, std::vector<float>& some) {
  constexpr int kShift = 20;
  std::vector<int64_t> in_bin(size_t{1} << (32 - kShift));
  for (int64_t i = 0; i < count; ++i) ++in_bin[order_of(scores[i]) >> kShift];
  size_t bin = 0;
  for (; rank >= in_bin[bin]; ++bin) rank -= in_bin[bin];
  some.clear();
  for (int64_t i = 0; i < count; ++i) {
    if (order_of(scores[i]) >> kShift == bin) some.push_back(scores[i]);
  }
  std::nth_element(some.begin(), some.begin() + rank, some.end());
  return some[static_cast<size_t>(rank)];
}

template <typename T>
T bound_of(const T* scores, int64_t count, int64_t rank, std::vector<T>& some) {
  constexpr int64_t kMany = 1 << 14;
  if constexpr (std::is_same_v<T, float>) {
    if (count >= kMany) return value_at(scores, count, rank, some);
  }
  some.assign(scores, scores + count);
  std::nth_element(some.begin(), some.begin() + rank, some.end());
  return some[static_cast<size_t>(rank)];
}

// Marks all but the `removed` lowest of `count` scores; of equal ones the first go.
template <typename T>
void keep_highest(const T* scores, int64_t count, int64_t removed, bool* kept,
                  std::vector<T>& some) {
  if (removed == 0) {
    std::fill_n(kept, count, true);
    return;
  }
  const T bound = bound_of(scores, count, removed - 1, some);
  int64_t equal = removed;
  for (int64_t i = 0; i < count; ++i) {
    const bool below = scores[i] < bound;
    kept[i] = !below;
    equal -= below ? 1 : 0;
  }
  for (int64_t i = 0; equal > 0; ++i) {
    if (scores[i] != bound) continue;
    kept[i] = false;
    --equal;
  }
}

int64_t kept_in_group(const Pattern& pattern, int64_t size) {
  return (size * pattern.n + pattern.m - 1) / pattern.m;
}

// One row, a group after the other.
template <typename T>
void keep_n_of_m(const Pattern& pattern, const T* scores, int64_t count, bool* kept,
                 std::vector<T>& some) {
  for (int64_t begin = 0; begin < count; begin += pattern.m) {
    const int64_t size = std::min(pattern.m, count - begin);
    keep_highest(scores + begin, size, size - kept_in_group(pattern, size), kept + begin, some);
  }
}

template <typename T>
void keep_by_row(const Pattern& pattern, const at::Tensor& scores, int64_t zeros,
                 at::Tensor& kept) {
  const int64_t rows = scores.size(0);
  const int64_t columns = scores.size(1);
  const T* from = scores.const_data_ptr<T>();
  bool* to = kept.mutable_data_ptr<bool>();
  const int64_t grain = std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, columns));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<T> some;
    for (int64_t row = begin; row < end; ++row) {
      const T* scored = from + row * columns;
      if (pattern.kind == Pattern::Kind::NofM) {
        keep_n_of_m(pattern, scored, columns, to + row * columns, some);
      } else {
        const int64_t removed = zeros / rows + (row < zeros % rows ? 1 : 0);
        keep_highest(scored, columns, removed, to + row * columns, some);
      }
    }
  });
}

// All rows of so many columns at a time.
template <typename T>
void keep_by_block(int64_t width, const at::Tensor& scores, int64_t zeros, at::Tensor& kept) {
  const int64_t columns = scores.size(1);
  std::vector<T> some;
  for (int64_t begin = 0; begin < columns; begin += width) {
    const int64_t end = std::min(columns, begin + width);
    const int64_t removed = zeros * end / columns - zeros * begin / columns;
    const at::Tensor block = scores.narrow(1, begin, end - begin).contiguous();
    at::Tensor stay = at::empty(block.sizes(), at::kBool);
    keep_highest(block.const_data_ptr<T>(), block.numel(), removed, stay.mutable_data_ptr<bool>(),
                 some);
    kept.narrow(1, begin, end - begin).copy_(stay);
  }
}

template <typename T>
at::Tensor kept_in(const Pattern& pattern, const at::Tensor& scores, int64_t zeros) {
  at::Tensor kept = at::empty(scores.sizes(), at::kBool);
  if (scores.numel() == 0) return kept;
  switch (pattern.kind) {
    case Pattern::Kind::Row:
    case Pattern::Kind::NofM:
      keep_by_row<T>(pattern, scores, zeros, kept);
      break;
    case Pattern::Kind::Layer:
      keep_by_block<T>(scores.size(1), scores, zeros, kept);
      break;
    case Pattern::Kind::Block:
      keep_by_block<T>(pattern.m, scores, zeros, kept);
      break;
  }
  return kept;
}

bool read_number(std::string_view text, int64_t& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

}  // namespace

Pattern parse_pattern(std::string_view name) {
  constexpr std::string_view kBlock = "block:";
  if (name == "row") return {};
  if (name == "layer") return {.kind = Pattern::Kind::Layer};
  Pattern block{.kind = Pattern::Kind::Block};
  if (name.starts_with(kBlock) && read_number(name.substr(kBlock.size()), block.m) && block.m > 0) {
    return block;
  }
  Pattern pattern{.kind = Pattern::Kind::NofM};
  const size_t colon = name.find(':');
  const bool good = colon != name.npos && read_number(name.substr(0, colon), pattern.n) &&
                    read_number(name.substr(colon + 1), pattern.m);
  PRUNUS_CHECK(good && pattern.n >= 1 && pattern.n < pattern.m && pattern.m <= kLargestGroup,
               InvalidArgument, "pattern '", name,
               "', expected row, layer, block:COLUMNS, or N:M with 1 <= N < M <= ", kLargestGroup,
               " such as 2:4 (two of every four stay)");
  return pattern;
}

std::string pattern_name(const Pattern& pattern) {
  switch (pattern.kind) {
    case Pattern::Kind::Row:
      return "row";
    case Pattern::Kind::Layer:
      return "layer";
    case Pattern::Kind::Block:
      return c10::str("block:", pattern.m);
    case Pattern::Kind::NofM:
      return c10::str(pattern.n, ":", pattern.m);
  }
  TORCH_INTERNAL_ASSERT(false);
}

double sparsity_of(const Pattern& pattern, double asked) {
  if (pattern.counted()) return asked;
  return 1.0 - static_cast<double>(pattern.n) / static_cast<double>(pattern.m);
}

int64_t zeros_of(const Pattern& pattern, int64_t rows, int64_t columns, double sparsity) {
  const auto share = [&](int64_t count) {
    return static_cast<int64_t>(static_cast<double>(count) * sparsity);
  };
  if (pattern.kind == Pattern::Kind::Row) return rows * share(columns);
  if (pattern.counted()) return share(rows * columns);
  const int64_t whole = columns / pattern.m;
  const int64_t rest = columns % pattern.m;
  return rows * (whole * (pattern.m - pattern.n) + rest - kept_in_group(pattern, rest));
}

at::Tensor kept_without(const Pattern& pattern, const at::Tensor& scores, int64_t zeros) {
  TORCH_INTERNAL_ASSERT(scores.dim() == 2 && zeros >= 0 && zeros <= scores.numel());
  const bool wide = scores.scalar_type() == at::kDouble;
  const at::Tensor plain = scores.to(at::kCPU, wide ? at::kDouble : at::kFloat).contiguous();
  PRUNUS_CHECK(plain.isfinite().all().item<bool>(), Numeric,
               "a weight's score is not finite; the model overflows on this text, or its weights "
               "are damaged");
  return wide ? kept_in<double>(pattern, plain, zeros) : kept_in<float>(pattern, plain, zeros);
}

at::Tensor kept_by(const Pattern& pattern, const at::Tensor& scores, double sparsity) {
  TORCH_INTERNAL_ASSERT(scores.dim() == 2 && sparsity >= 0 && sparsity < 1);
  return kept_without(pattern, scores, zeros_of(pattern, scores.size(0), scores.size(1), sparsity));
}

}  // namespace prunus
