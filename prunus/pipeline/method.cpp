#include "prunus/pipeline/method.h"

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"

namespace prunus {
namespace {

template <typename Part>
const Part& find(std::span<const Part* const> catalogue, std::string_view name, const char* what) {
  std::vector<std::string> known;
  for (const Part* part : catalogue) {
    if (part->name == name) return *part;
    known.emplace_back(part->name);
  }
  PRUNUS_FAIL(InvalidArgument, what, " ", unknown_word(name, known));
}

}  // namespace

const Method& find_method(std::string_view name) { return find(methods::all(), name, "--method"); }

const Criterion& criterion_of(const Method& method, std::string_view taylor) {
  if (taylor.empty()) return find(criteria::all(), method.criteria[0], "criterion");
  constexpr std::string_view kPrefix = "taylor_";
  std::vector<std::string> known;
  for (const std::string_view name : method.criteria) {
    if (!name.starts_with(kPrefix)) continue;
    known.emplace_back(name.substr(kPrefix.size()));
    if (known.back() == taylor) return find(criteria::all(), name, "criterion");
  }
  PRUNUS_CHECK(!known.empty(), InvalidArgument, "--method ", method.name,
               " has no Taylor variants; --taylor is for --method llm-pruner");
  PRUNUS_FAIL(InvalidArgument, "--taylor ", unknown_word(taylor, known));
}

const Budget& find_budget(std::string_view name) { return find(budget::all(), name, "budget"); }

}  // namespace prunus
