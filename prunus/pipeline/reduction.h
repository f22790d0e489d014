#pragma once
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/graph/groups.h"

namespace prunus {

/// How the scores of a group's tensors become one. Names as on the command line.
/// first, second, last: of the tensors in the order of the data: q, k, v, o; gate, up, down (or
/// that of the conventions, pipeline/conventions.h).
enum class Reduction { Sum, Mean, Max, Prod, First, Second, Last };

/// Throws InvalidArgument listing the known names.
Reduction parse_reduction(std::string_view name);
std::string_view reduction_name(Reduction reduction);

/// The members that are scored: matrices, and for the hidden dimension the gains of the norms over
/// it. Biases and norms inside a head are cut with their group but never scored.
/// Order: the reduction's (first, second, last), which is the data's.
std::vector<size_t> scored_members(const GroupSet& set);

/// One score per unit, FP64 [units]: the folded scores [units, width] of the scored members reduced
/// over the members, then summed over the width. For Prod: the natural logarithm of that (products
/// of hundreds of scores leave the range of FP64); a factor of 0 counts as 2.2e-308.
/// Throws InvalidArgument where the set has no second member.
at::Tensor reduce(const std::vector<at::Tensor>& folded, Reduction reduction);

}  // namespace prunus
