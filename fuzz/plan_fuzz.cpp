// plan.json, for a model of tests/model/golden.
#include <nlohmann/json.hpp>

#include "prunus/graph/shrink.h"
#include "prunus/pipeline/plan.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(text) {
  using namespace prunus;
  static const Model model = open_model(PRUNUS_SOURCE_DIR "/tests/model/golden/llama_gqa");
  const Plan plan = plan_from_json(parse_json(text, "plan.json"), "plan.json");
  const Plan again = plan_from_json(to_json(plan), "written");
  fuzz::require(again.entries.size() == plan.entries.size(), "a plan that is written again is it");
  check_plan(plan, model);
  const Model smaller = shrink(model, plan.keeps());
  fuzz::require(smaller.parameters() <= model.parameters(), "a plan adds nothing");
}
