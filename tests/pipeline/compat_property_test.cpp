// --compat llm-pruner on every family: it prunes, or says that it cannot.
#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/pipeline/prune.h"

#include "support/golden_models.h"

namespace prunus::test::compat_property_test {
namespace {

class CompatProperty : public testing::TestWithParam<std::string> {};

bool is_mixture(const Model& model) {
  for (const GroupSet& set : find_groups(model)) {
    if (set.label == AxisLabel::Expert) return true;
  }
  return false;
}

TEST_P(CompatProperty, RemovesUnitsOrRefusesAMixture) {
  const Model model = open_model(golden_dir(GetParam()));
  int64_t removed_in_all = 0;
  for (const bool global : {false, true}) {
    for (const double ratio : {0.25, 0.5, 0.9}) {
      SCOPED_TRACE(testing::Message() << "global " << global << ", ratio " << ratio);
      const PruneOptions options{
          .method = "l1", .ratio = ratio, .global = global, .compat = "llm-pruner"};
      if (is_mixture(model)) {
        EXPECT_THROW(make_plan(model, PlanContext{}, options), Error);
        continue;
      }
      const PlanResult result = make_plan(model, PlanContext{}, options);
      ASSERT_FALSE(result.plan.entries.empty());
      for (const PlanEntry& entry : result.plan.entries) {
        const auto kept = static_cast<int64_t>(entry.keep.units.size());
        EXPECT_GE(kept, 1);
        EXPECT_LE(kept, entry.units);
        removed_in_all += entry.units - kept;
      }
    }
  }
  EXPECT_EQ(removed_in_all > 0, !is_mixture(model));
}

INSTANTIATE_TEST_SUITE_P(Goldens, CompatProperty, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::compat_property_test
