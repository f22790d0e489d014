#include "prunus/model/objective.h"

#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, Objective> kObjectives[] = {{"ce", Objective::CrossEntropy},
                                                                  {"entropy", Objective::Entropy},
                                                                  {"kl", Objective::Divergence}};

}  // namespace

Objective parse_objective(std::string_view name) {
  return parse_named(kObjectives, name, "--objective");
}
std::string_view objective_name(Objective objective) { return name_of(kObjectives, objective); }

}  // namespace prunus
