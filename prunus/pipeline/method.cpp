#include "prunus/pipeline/method.h"

#include "prunus/base/error.h"

namespace prunus {
namespace {

template <typename Part>
const Part& find(std::span<const Part* const> catalogue, std::string_view name, const char* what) {
  std::string known;
  for (const Part* part : catalogue) {
    if (part->name == name) return *part;
    known += c10::str(known.empty() ? "" : ", ", part->name);
  }
  PRUNUS_FAIL(InvalidArgument, what, " '", name, "' is not known; known: ", known);
}

}  // namespace

const Method& find_method(std::string_view name) { return find(methods::all(), name, "method"); }

const Criterion& criterion_of(const Method& method, std::string_view taylor) {
  if (taylor.empty()) return find(criteria::all(), method.criteria[0], "criterion");
  const std::string wanted = c10::str("taylor_", taylor);
  for (const std::string_view name : method.criteria) {
    if (name == wanted) return find(criteria::all(), name, "criterion");
  }
  PRUNUS_FAIL(InvalidArgument, "method '", method.name, "' has no Taylor variant '", taylor,
              "'; --taylor takes vectorize, param_first, param_second or param_mix, with --method "
              "llm-pruner");
}

const Budget& find_budget(std::string_view name) { return find(budget::all(), name, "budget"); }

}  // namespace prunus
