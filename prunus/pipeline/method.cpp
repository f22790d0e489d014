#include "prunus/pipeline/method.h"

#include <vector>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"

namespace prunus {
namespace {

template <typename Part, typename Among>
const Part& find(std::span<const Part* const> catalogue, std::string_view name, const char* what,
                 Among among) {
  std::vector<std::string> known;
  for (const Part* part : catalogue) {
    if (!among(*part)) continue;
    if (part->name == name) return *part;
    known.emplace_back(part->name);
  }
  PRUNUS_FAIL(InvalidArgument, what, " ", unknown_word(name, known));
}

template <typename Part>
const Part& find(std::span<const Part* const> catalogue, std::string_view name, const char* what) {
  return find(catalogue, name, what, [](const Part&) { return true; });
}

}  // namespace

const Method& find_method(std::string_view name) { return find(methods::all(), name, "--method"); }

const Method& find_preset(std::string_view name) {
  return find(methods::all(), name, "--preset",
              [](const Method& method) { return !method.preset_of.empty(); });
}

const Criterion& criterion_of(const Method& method, std::string_view taylor) {
  if (taylor.empty()) return *method.criteria[0];
  constexpr std::string_view kPrefix = "taylor_";
  std::vector<std::string> known;
  for (const Criterion* one : method.criteria) {
    if (!one->name.starts_with(kPrefix)) continue;
    known.emplace_back(one->name.substr(kPrefix.size()));
    if (known.back() == taylor) return *one;
  }
  PRUNUS_CHECK(!known.empty(), InvalidArgument, "--method ", method.name,
               " has no Taylor variants; --taylor is for --method llm-pruner and shortened-llama");
  PRUNUS_FAIL(InvalidArgument, "--taylor ", unknown_word(taylor, known));
}

const Budget& find_budget(std::string_view name) { return find(budget::all(), name, "--budget"); }

const Criterion& find_criterion(std::string_view name) {
  return find(criteria::all(), name, "criterion");
}

}  // namespace prunus
