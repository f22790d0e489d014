#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

namespace prunus {

/// Where the zeros of a weight may be.
struct Pattern {
  enum class Kind {
    Row,   ///< anywhere, as many in each row
    NofM,  ///< all but `n` of every `m` weights that follow each other in a row
  };
  Kind kind = Kind::Row;
  int64_t n = 0;  ///< NofM: how many stay
  int64_t m = 0;
};

/// "row", or "N:M" such as 2:4: N stay of every M. Throws InvalidArgument for anything else, and
/// where not 1 ≤ N < M ≤ 64.
Pattern parse_pattern(std::string_view name);
std::string pattern_name(const Pattern& pattern);

/// The share of zeros that an N:M pattern has; of Row what was asked for.
double sparsity_of(const Pattern& pattern, double asked);

/// Which weights stay: bool [out, in] on the CPU, true = stays. scores: [out, in], any floating
/// dtype and device, higher = keep; of equal scores the one with the lower index goes.
/// Row: ⌊in · sparsity⌋ of each row go. NofM: a remainder of r < m columns keeps ⌈r·n/m⌉; sparsity
/// is not looked at. Throws Numeric where a score is not finite. Cost: linear in the scores (Row),
/// and one copy of them in FP32 or FP64.
at::Tensor kept_by(const Pattern& pattern, const at::Tensor& scores, double sparsity);

}  // namespace prunus
