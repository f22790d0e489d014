// What the reference LLM-Pruner removes on real models, from its own code: --compat llm-pruner must
// remove the same.
#include <algorithm>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/pipeline/prune.h"

#include "support/paths.h"

namespace prunus::test::llm_pruner_real_test {
namespace {

class ReferenceGolden : public testing::TestWithParam<const char*> {};

// This program's options for a case of the file.
PruneOptions options_of(const Json& one) {
  PruneOptions options;
  const auto importance = one.at("importance").get<std::string>();
  options.method = importance == "taylor" ? "llm-pruner" : importance;
  if (!one.at("taylor").is_null()) options.taylor = one.at("taylor").get<std::string>();
  options.reduction = one.at("reduction").get<std::string>();
  options.ratio = one.at("ratio").get<double>();
  options.layers =
      LayerRange{one.at("layers")[0].get<int64_t>(), one.at("layers")[1].get<int64_t>()};
  options.global = one.at("global").get<bool>();
  options.compat = "llm-pruner";
  return options;
}

std::string name_of(const Json& one) {
  return one.at("importance").dump() + one.at("taylor").dump() + one.at("reduction").dump() +
         one.at("ratio").dump() + (one.at("global").get<bool>() ? " global" : "");
}

std::vector<int64_t> removed_of(const PlanEntry& entry) {
  std::vector<int64_t> removed;
  for (int64_t unit = 0; unit < entry.units; ++unit) {
    const auto& kept = entry.keep.units;
    if (!std::binary_search(kept.begin(), kept.end(), unit)) removed.push_back(unit);
  }
  return removed;
}

TEST_P(ReferenceGolden, TheSameHeadsAndChannelsGoInEveryCase) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const Json golden = read_json(shared + "/goldens/llm-pruner." + GetParam() + ".json");
  const Model model = open_model(shared + "/models/" + GetParam());
  const auto batches = make_batches(golden.at("windows").get<std::vector<std::vector<int64_t>>>());
  size_t sets = 0;
  for (const Json& one : golden.at("cases")) {
    const Plan plan = make_plan(model, batches, options_of(one)).plan;
    for (const PlanEntry& entry : plan.entries) {
      const Json& gold = one.at("removed").at(static_cast<size_t>(entry.keep.layer));
      const char* key = entry.keep.label == AxisLabel::Ffn ? "ffn" : "heads";
      EXPECT_EQ(removed_of(entry), gold.at(key).get<std::vector<int64_t>>())
          << name_of(one) << " layer " << entry.keep.layer << " " << key;
      ++sets;
    }
  }
  EXPECT_EQ(golden.at("cases").size(), 35u);
  EXPECT_EQ(sets, 34u * 2 * 5 + 2 * 3);  // five layers, in one case three of them
}

INSTANTIATE_TEST_SUITE_P(Models, ReferenceGolden, testing::Values("stories260K", "babyllama-105"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace prunus::test::llm_pruner_real_test
