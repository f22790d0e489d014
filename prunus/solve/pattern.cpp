#include "prunus/solve/pattern.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr int64_t kLargestGroup = 64;

// Marks all but the `removed` lowest of `count` scores; of equal ones the first go.
template <typename T>
void keep_highest(const T* scores, int64_t count, int64_t removed, bool* kept,
                  std::vector<T>& sorted) {
  std::fill_n(kept, count, true);
  if (removed == 0) return;
  sorted.assign(scores, scores + count);
  std::nth_element(sorted.begin(), sorted.begin() + (removed - 1), sorted.end());
  const T bound = sorted[static_cast<size_t>(removed - 1)];
  int64_t equal =
      removed - std::count_if(scores, scores + count, [&](T one) { return one < bound; });
  for (int64_t i = 0; i < count; ++i) {
    if (scores[i] < bound) kept[i] = false;
    if (scores[i] == bound && equal-- > 0) kept[i] = false;
  }
}

// One row, a group after the other.
template <typename T>
void keep_in_row(const Pattern& pattern, const T* scores, int64_t count, double sparsity,
                 bool* kept, std::vector<T>& sorted) {
  if (pattern.kind == Pattern::Kind::Row) {
    const auto removed = static_cast<int64_t>(static_cast<double>(count) * sparsity);
    keep_highest(scores, count, removed, kept, sorted);
    return;
  }
  for (int64_t begin = 0; begin < count; begin += pattern.m) {
    const int64_t size = std::min(pattern.m, count - begin);
    const int64_t stay = (size * pattern.n + pattern.m - 1) / pattern.m;
    keep_highest(scores + begin, size, size - stay, kept + begin, sorted);
  }
}

template <typename T>
at::Tensor kept_rows(const Pattern& pattern, const at::Tensor& scores, double sparsity) {
  at::Tensor kept = at::empty(scores.sizes(), at::kBool);
  const int64_t columns = scores.size(1);
  const T* from = scores.const_data_ptr<T>();
  bool* to = kept.mutable_data_ptr<bool>();
  const int64_t grain = std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, columns));
  at::parallel_for(0, scores.size(0), grain, [&](int64_t begin, int64_t end) {
    std::vector<T> sorted;
    for (int64_t row = begin; row < end; ++row) {
      keep_in_row(pattern, from + row * columns, columns, sparsity, to + row * columns, sorted);
    }
  });
  return kept;
}

bool read_number(std::string_view text, int64_t& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

}  // namespace

Pattern parse_pattern(std::string_view name) {
  if (name == "row") return {};
  Pattern pattern{.kind = Pattern::Kind::NofM};
  const size_t colon = name.find(':');
  const bool good = colon != name.npos && read_number(name.substr(0, colon), pattern.n) &&
                    read_number(name.substr(colon + 1), pattern.m);
  PRUNUS_CHECK(good && pattern.n >= 1 && pattern.n < pattern.m && pattern.m <= kLargestGroup,
               InvalidArgument, "--pattern '", name,
               "', expected row, or N:M with 1 <= N < M <= ", kLargestGroup,
               " such as 2:4 (two of every four stay)");
  return pattern;
}

std::string pattern_name(const Pattern& pattern) {
  return pattern.kind == Pattern::Kind::Row ? "row" : c10::str(pattern.n, ":", pattern.m);
}

double sparsity_of(const Pattern& pattern, double asked) {
  if (pattern.kind == Pattern::Kind::Row) return asked;
  return 1.0 - static_cast<double>(pattern.n) / static_cast<double>(pattern.m);
}

at::Tensor kept_by(const Pattern& pattern, const at::Tensor& scores, double sparsity) {
  TORCH_INTERNAL_ASSERT(scores.dim() == 2 && sparsity >= 0 && sparsity < 1);
  const bool wide = scores.scalar_type() == at::kDouble;
  const at::Tensor plain = scores.to(at::kCPU, wide ? at::kDouble : at::kFloat).contiguous();
  PRUNUS_CHECK(plain.isfinite().all().item<bool>(), Numeric,
               "a weight's score is not finite; the model overflows on this text, or its weights "
               "are damaged");
  return wide ? kept_rows<double>(pattern, plain, sparsity)
              : kept_rows<float>(pattern, plain, sparsity);
}

}  // namespace prunus
