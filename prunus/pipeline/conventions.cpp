#include "prunus/pipeline/conventions.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

// Slices of one unit that stand at the same place of the narrowest tensor's unit are added, so a
// query head counts for the KV group it is removed with.
at::Tensor fold(const at::Tensor& slices, const GroupSet& set, const GroupMember& member) {
  const int64_t width = set.width();
  return slices.to(at::kCPU, at::kDouble)
      .view({set.shares, member.outer, set.units_per_share(), member.inner / width, width})
      .sum(c10::IntArrayRef{1, 3})
      .reshape({set.units, width});
}

// With a stride, as the aligner of LLM-Pruner does: KV head h is credited with query heads h,
// h + n_kv, …
at::Tensor fold_by_stride(const at::Tensor& slices, const GroupSet& set,
                          const GroupMember& /*member*/) {
  const int64_t width = set.width();
  return slices.to(at::kCPU, at::kDouble)
      .view({-1, set.units * width})
      .sum(0)
      .view({set.units, width});
}

// Where a tensor stands in LLM-Pruner's graph. Heads: the root (q, or k where several queries share
// a key), o, v, then the other of q and k, so `second` is o. Hidden: the final norm first.
int place_in_graph(const GroupSet& set, const GroupMember& member, bool grouped) {
  const Role role = member.tensor.spec->role;
  if (set.label == AxisLabel::Hidden) return role == Role::FinalNorm ? 0 : 1;
  switch (role) {
    case Role::QProj:
      return grouped ? 4 : 0;
    case Role::OProj:
      return 1;
    case Role::VProj:
      return 2;
    case Role::KProj:
      return grouped ? 0 : 4;
    default:
      return 3;
  }
}

void order_of_graph(const GroupSet& set, std::vector<size_t>& members) {
  const bool grouped = std::any_of(
      set.members.begin(), set.members.end(),
      [&](const GroupMember& member) { return member.slices_per_unit() != set.width(); });
  std::stable_sort(members.begin(), members.end(), [&](size_t a, size_t b) {
    return place_in_graph(set, set.members[a], grouped) <
           place_in_graph(set, set.members[b], grouped);
  });
}

// LLM-Pruner's magnitudes of the embedding have the wrong length, and its aligner drops them.
bool scores_in_graph(const GroupSet& set, const GroupMember& member, const Needs& needs) {
  const bool magnitude = needs.weights && !needs.calibration();
  return !(magnitude && set.label == AxisLabel::Hidden &&
           member.tensor.spec->role == Role::EmbedTokens);
}

}  // namespace

namespace conventions {

const Conventions own{.name = "", .fold = fold};

const Conventions llm_pruner{.name = "llm-pruner",
                             .fold = fold_by_stride,
                             .order = order_of_graph,
                             .scores = scores_in_graph,
                             .uniform = "llm_pruner_uniform",
                             .global = "llm_pruner_global",
                             .weights_reduction = "mean",
                             .biases = Biases::Ignored,
                             .draws_per_slice = true,
                             .reference_windows = true};

}  // namespace conventions

const Conventions& find_conventions(std::string_view name) {
  for (const Conventions* one : {&conventions::own, &conventions::llm_pruner}) {
    if (one->name == name) return *one;
  }
  PRUNUS_FAIL(InvalidArgument, "--compat '", name, "', expected llm-pruner");
}

}  // namespace prunus
