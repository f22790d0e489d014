// What the reference LLM-Pruner removes on real models, from its own code.
#include <algorithm>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/pipeline/prune.h"

#include "support/paths.h"

namespace prunus::test {
namespace {

class ReferenceGolden : public testing::TestWithParam<const char*> {};

// This program's options for a case of the file, or nothing where the case is of a later issue.
std::optional<PruneOptions> options_of(const Json& one) {
  const auto importance = one.at("importance").get<std::string>();
  const std::string taylor = one.at("taylor").is_null() ? "" : one.at("taylor").get<std::string>();
  const auto reduction = one.at("reduction").get<std::string>();
  // With equally many members per unit the mean ranks as the sum does.
  const bool in_scope = !one.at("global").get<bool>() &&
                        (reduction == "sum" || reduction == "mean") &&
                        (taylor.empty() || taylor == "vectorize" || taylor == "param_first");
  if (!in_scope) return std::nullopt;
  PruneOptions options;
  options.method = importance == "taylor" ? "llm-pruner" : importance;
  options.taylor = taylor;
  options.ratio = one.at("ratio").get<double>();
  options.layers =
      LayerRange{one.at("layers")[0].get<int64_t>(), one.at("layers")[1].get<int64_t>()};
  return options;
}

std::vector<int64_t> removed_of(const PlanEntry& entry) {
  std::vector<int64_t> removed;
  for (int64_t unit = 0; unit < entry.units; ++unit) {
    const auto& kept = entry.keep.units;
    if (!std::binary_search(kept.begin(), kept.end(), unit)) removed.push_back(unit);
  }
  return removed;
}

TEST_P(ReferenceGolden, TheSameFeedForwardChannelsGo) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const Json golden = read_json(shared + "/goldens/llm-pruner." + GetParam() + ".json");
  const Model model = open_model(shared + "/models/" + GetParam());
  const auto batches = make_batches(golden.at("windows").get<std::vector<std::vector<int64_t>>>());
  int cases = 0;
  for (const Json& one : golden.at("cases")) {
    const auto options = options_of(one);
    if (!options) continue;
    ++cases;
    const Plan plan = make_plan(model, batches, *options).plan;
    for (const PlanEntry& entry : plan.entries) {
      const Json& gold = one.at("removed").at(static_cast<size_t>(entry.keep.layer));
      if (entry.keep.label == AxisLabel::Ffn) {
        EXPECT_EQ(removed_of(entry), gold.at("ffn").get<std::vector<int64_t>>())
            << one.at("importance") << one.at("taylor") << " layer " << entry.keep.layer;
      } else {
        // Which heads differs by the reference's scoring of grouped queries; how many does not.
        EXPECT_EQ(removed_of(entry).size(), gold.at("heads").size());
      }
    }
  }
  EXPECT_EQ(cases, 10);
}

INSTANTIATE_TEST_SUITE_P(Models, ReferenceGolden, testing::Values("stories260K", "babyllama-105"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace prunus::test
