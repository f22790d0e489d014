#pragma once
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/graph/groups.h"

namespace prunus {

/// How the scores of a group's tensors become one. Names as on the command line.
/// first, second, last: of the tensors in the order of the data: q, k, v, o; gate, up, down. (Under
/// --compat llm-pruner in the order of its graph, see reference_order.)
enum class Reduction { Sum, Mean, Max, Prod, First, Second, Last };

/// Throws InvalidArgument listing the known names.
Reduction parse_reduction(std::string_view name);
std::string_view reduction_name(Reduction reduction);

/// Whose choices to make where the reference is questionable (docs/llm-pruner.md).
enum class Compat { None, LlmPruner };

/// Scores of one tensor's slices, folded to [units, width]: slices of one unit that stand at the
/// same place of the narrowest tensor's unit are added, so a query head counts for the KV group it
/// is removed with. Compat::LlmPruner folds with a stride instead, as the reference's aligner does
/// (section 3.7 of its analysis: KV head h is credited with query heads h, h + n_kv, …).
/// slices: [size of the cut dimension]; result FP64 on the CPU.
at::Tensor fold(const at::Tensor& slices, const GroupSet& set, const GroupMember& member,
                Compat compat);

/// The members that are scored: matrices, and for the hidden dimension the gains of the norms over
/// it. Biases and norms inside a head are cut with their group but never scored.
/// Order: the reduction's (first, second, last).
std::vector<size_t> scored_members(const GroupSet& set, Compat compat);

/// One score per unit, FP64 [units]: the folded scores [units, width] of the scored members reduced
/// over the members, then summed over the width. For Prod: the natural logarithm of that (products
/// of hundreds of scores leave the range of FP64); a factor of 0 counts as 2.2e-308.
/// Throws InvalidArgument where the set has no second member.
at::Tensor reduce(const std::vector<at::Tensor>& folded, Reduction reduction);

}  // namespace prunus
