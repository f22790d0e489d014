#include "prunus/pipeline/reduction.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, Reduction> kNames[] = {
    {"sum", Reduction::Sum},   {"mean", Reduction::Mean},   {"max", Reduction::Max},
    {"prod", Reduction::Prod}, {"first", Reduction::First}, {"second", Reduction::Second},
    {"last", Reduction::Last},
};

bool is_hidden_norm(Role role) {
  return role == Role::AttnNorm || role == Role::MlpNorm || role == Role::FinalNorm ||
         role == Role::PostAttnNorm || role == Role::PostMlpNorm || role == Role::EmbedNorm;
}

}  // namespace

Reduction parse_reduction(std::string_view name) {
  return parse_named(kNames, name, "--reduction");
}

std::string_view reduction_name(Reduction reduction) { return name_of(kNames, reduction); }

std::vector<size_t> scored_members(const GroupSet& set) {
  std::vector<size_t> members;
  for (size_t i = 0; i < set.members.size(); ++i) {
    const GroupMember& member = set.members[i];
    const bool norm = set.label == AxisLabel::Hidden && is_hidden_norm(member.tensor.spec->role);
    if (member.tensor.spec->rank == 2 || norm) members.push_back(i);
  }
  return members;
}

at::Tensor reduce(const std::vector<at::Tensor>& folded, Reduction reduction) {
  TORCH_INTERNAL_ASSERT(!folded.empty());
  const at::Tensor all = at::stack(folded);  // [members, units, width]
  switch (reduction) {
    case Reduction::Sum:
      return all.sum(0).sum(1);
    case Reduction::Mean:
      return all.mean(0).sum(1);
    case Reduction::Max:
      return all.amax(0).sum(1);
    case Reduction::Prod:
      return at::logsumexp(all.clamp_min(std::numeric_limits<double>::min()).log().sum(0), {1});
    case Reduction::First:
      return all[0].sum(1);
    case Reduction::Second:
      PRUNUS_CHECK(folded.size() > 1, InvalidArgument,
                   "--reduction second: a group here has one tensor only");
      return all[1].sum(1);
    case Reduction::Last:
      return all[static_cast<int64_t>(folded.size()) - 1].sum(1);
  }
  return {};
}

}  // namespace prunus
