#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

namespace prunus {

/// Where the zeros of a weight may be, and which of its weights are compared with each other.
struct Pattern {
  enum class Kind {
    Row,    ///< anywhere, as many in each row
    Layer,  ///< anywhere in the matrix
    Block,  ///< anywhere, as many in every `m` columns that follow each other, over all rows
    NofM,   ///< all but `n` of every `m` weights that follow each other in a row
  };
  Kind kind = Kind::Row;
  int64_t n = 0;  ///< NofM: how many stay
  int64_t m = 0;

  bool counted() const { return kind != Kind::NofM; }  ///< how many are zero is free
};

/// "row", "layer", "block:COLUMNS", or "N:M" such as 2:4: N stay of every M. Throws InvalidArgument
/// for anything else, and where not 1 ≤ N < M ≤ 64, or COLUMNS < 1.
Pattern parse_pattern(std::string_view name);
std::string pattern_name(const Pattern& pattern);

/// The share of zeros that an N:M pattern has; of others what was asked for.
double sparsity_of(const Pattern& pattern, double asked);

/// How many weights of a matrix [rows, columns] are zero: Row ⌊columns · sparsity⌋ in each row;
/// Layer and Block ⌊rows · columns · sparsity⌋. NofM does not look at the sparsity: a remainder of
/// r < m columns keeps ⌈r·n/m⌉.
int64_t zeros_of(const Pattern& pattern, int64_t rows, int64_t columns, double sparsity);

/// Which weights stay when so many of the lowest go: bool [out, in] on the CPU, true = stays.
/// scores: [out, in], any floating dtype and device, higher = keep; of equal scores the one with
/// the lower index goes. Row: where the rows do not divide `zeros`, the first lose one more. Block:
/// each loses ⌊zeros · end / in⌋ − ⌊zeros · begin / in⌋. NofM does not look at `zeros`.
/// Throws Numeric where a score is not finite. Cost: linear in the scores, and one copy of them in
/// FP32 or FP64.
at::Tensor kept_without(const Pattern& pattern, const at::Tensor& scores, int64_t zeros);
/// The same with zeros_of() the matrix.
at::Tensor kept_by(const Pattern& pattern, const at::Tensor& scores, double sparsity);

}  // namespace prunus
