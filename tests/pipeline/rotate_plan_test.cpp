// How many directions a plan keeps, and the model it leaves.
#include "prunus/pipeline/rotate_plan.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/calib/stream_moments.h"
#include "prunus/graph/rotate.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::rotate_plan_test {
namespace {

PlanResult plan_of(const Model& model, PruneOptions options) {
  options.method = "slicegpt";
  return make_plan(model, std::vector<TokenBatch>(), options);
}

int64_t kept(const Model& model, const PruneOptions& options) {
  const PlanResult result = plan_of(model, options);
  EXPECT_TRUE(result.plan.entries.empty());
  const PlanRotation& rotation = result.plan.rotation.value();
  EXPECT_EQ(rotation.channels, model.config().hidden_size);
  EXPECT_DOUBLE_EQ(result.ratio,
                   1 - static_cast<double>(rotation.kept) / static_cast<double>(rotation.channels));
  return rotation.kept;
}

TEST(RotationPlan, KeepsWhatTheRatioLeaves) {
  const Model model = tiny_model({.hidden = 24});
  EXPECT_EQ(kept(model, {}), 18);              // 25 %
  EXPECT_EQ(kept(model, {.ratio = 0.3}), 16);  // 24 · 0.7 = 16.8
  EXPECT_EQ(kept(model, {.ratio = 0}), 24);
  EXPECT_EQ(kept(model, {.ratio = 0.3, .round_to = 5}), 20);
  EXPECT_EQ(kept(model, {.ratio = 0.1, .round_to = 16}), 24);
  EXPECT_EQ(kept(model, {.ratio = 0.99}), 1);
}

// 29 tokens: channel by channel the model has 2 · 29 rows of embedding and head, 4 · 16 of q, k, v
// and o, 3 · 12 of the feed-forward part and 2 of the norms in each of two layers, and the last
// norm: 58 + 2 · (64 + 36 + 2) + 1 = 263 weights.
TEST(RotationPlan, KeepsWhatATargetHasRoomFor) {
  const Model model = tiny_model({});
  ASSERT_EQ(model.parameters(), 16 * 263);
  EXPECT_EQ(kept(model, {.target_params = 12 * 263}), 12);
  EXPECT_EQ(kept(model, {.target_params = 12 * 263 - 1}), 11);
  EXPECT_EQ(kept(model, {.target_bytes = 4 * 12 * 263}), 12);
  EXPECT_EQ(kept(model, {.target_params = 15 * 263, .round_to = 4}), 12);
  EXPECT_EQ(kept(model, {.target_params = 1'000'000}), 16);
  expect_error(ErrorKind::InvalidArgument, "--target-params 262 is out of reach: with 1 of 16",
               [&] { plan_of(model, {.target_params = 262}); });
  // The head that a tied model is given counts.
  EXPECT_EQ(kept(tiny_model({.tied = true}), {.target_params = 12 * 263}), 12);
}

TEST(RotationPlan, RefusesWhatItCannotDo) {
  const Model model = tiny_model({});
  const auto refused = [&](const PruneOptions& options, const char* why) {
    expect_error(ErrorKind::InvalidArgument, why, [&] { plan_of(model, options); });
  };
  refused({.structure = Structure::Block}, "it is for --structure channel");
  refused({.steps = 2}, "no steps");
  refused({.reduction = "max"}, "reduction");
  refused({.precision = at::kDouble}, "drop --precision");
  refused({.global = true}, "are for --structure block");
  refused({.solver = "bias"}, "not with --structure channel");
  const Model sandwiched = open_model(golden_dir("gemma2"));
  expect_error(ErrorKind::Unsupported, "cannot be turned", [&] { plan_of(sandwiched, {}); });
}

TEST(RotateByPlan, TurnsTheModelByTheMomentsOfTheText) {
  const Model model = tiny_model({.kv_heads = 2, .tied = true});
  const std::vector<TokenBatch> text = {{random_ids(model, 4, 9, 1)}};
  const Plan plan = plan_of(model, {.ratio = 0.25}).plan;
  const RotatedModel turned = rotate_by_plan(model, plan, text, at::kCPU);
  const StreamBasis basis = stream_basis(stream_moments(model, text, at::kCPU), 12, NormKind::Rms);
  EXPECT_DOUBLE_EQ(turned.energy, basis.energy);
  const at::Tensor ids = random_ids(model, 2, 9);
  EXPECT_TRUE(
      at::equal(logits_of(*turned.model, ids), logits_of(rotated(model, basis.vectors), ids)));
  const Model other = tiny_model({.hidden = 24});
  expect_error(ErrorKind::InvalidArgument, "made for another model",
               [&] { rotate_by_plan(other, plan, text, at::kCPU); });
}

// The directions that hold most beat those that hold least.
TEST(RotateByPlan, KeepsTheDirectionsThatTheTextUses) {
  const Model model = tiny_model({});
  const std::vector<TokenBatch> text = {{random_ids(model, 16, 9, 1)}};
  const at::Tensor ids = random_ids(model, 4, 9);
  const at::Tensor dense = logits_of(model, ids);
  const auto distance = [&](const Model& left) {
    return (logits_of(left, ids) - dense).square().mean().item<double>();
  };
  const Plan plan = plan_of(model, {.ratio = 0.25}).plan;
  const at::Tensor all =
      stream_basis(stream_moments(model, text, at::kCPU), 16, NormKind::Rms).vectors;
  const double first = distance(*rotate_by_plan(model, plan, text, at::kCPU).model);
  EXPECT_LT(first, distance(rotated(model, all.narrow(1, 4, 12))));
}

TEST(RotationJson, SaysWhatIsKept) {
  const Json json = rotation_json({.channels = 16, .kept = 12, .calibration = {}}, 0.5);
  EXPECT_EQ(json.at("channels_before"), 16);
  EXPECT_EQ(json.at("channels"), 12);
  EXPECT_EQ(json.at("energy"), 0.5);
}

}  // namespace
}  // namespace prunus::test::rotate_plan_test
