#include "prunus/pipeline/plan.h"

#include <functional>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/mask.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::plan_test {
namespace {

Plan sample_plan() {
  Plan plan;
  plan.method = "by hand";
  plan.entries = {{{AxisLabel::Ffn, 0, {1, 3}}, 12, {}},
                  {{AxisLabel::KvGroup, 1, {0}}, 4, {4, 3, 2, 1}}};
  return plan;
}

void expect_kind(ErrorKind kind, const std::function<void()>& act) {
  try {
    act();
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
  }
}

TEST(Plan, SurvivesJson) {
  const Plan back = plan_from_json(to_json(sample_plan()), "plan");
  ASSERT_EQ(back.entries.size(), 2u);
  EXPECT_EQ(back.entries[0].keep.units, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(back.entries[1].keep.label, AxisLabel::KvGroup);
  EXPECT_EQ(back.entries[1].scores, (std::vector<double>{4, 3, 2, 1}));
}

// Written by hand as docs/formats/plan.md says.
TEST(Plan, NamesSubLayersByTheirLayers) {
  const Json json = {{"format", "prunus-plan"},
                     {"version", 1},
                     {"groups",
                      {{{"layer", -1}, {"axis", "attention_part"}, {"units", 3}, {"keep", {0, 2}}},
                       {{"layer", -1}, {"axis", "ffn_part"}, {"units", 3}, {"keep", {1, 2}}}}}};
  const Plan plan = plan_from_json(json, "plan");
  EXPECT_EQ(plan_from_json(to_json(plan), "plan").entries[1].keep.units,
            plan.entries[1].keep.units);
  const Model model = tiny_model({.layers = 3});
  EXPECT_NO_THROW(check_plan(plan, model));
  expect_kind(ErrorKind::InvalidArgument, [&] { check_plan(plan, tiny_model({.layers = 2})); });
  const Model left = result_of(model, plan, "");
  EXPECT_EQ(left.config().layers, (std::vector<LayerShape>{{4, 4, 0}, {0, 0, 12}, {4, 4, 12}}));
}

TEST(Plan, SaysWhichMasksItWasMadeWith) {
  Plan plan = sample_plan();
  EXPECT_EQ(to_json(plan).at("version"), 1);
  plan.mask = {parse_pattern("2:4"), 0.5, "ab"};
  const Plan back = plan_from_json(to_json(plan), "plan");
  ASSERT_TRUE(back.mask.has_value());
  EXPECT_EQ(pattern_name(back.mask->pattern), "2:4");
  EXPECT_EQ(back.mask->sparsity, 0.5);
  EXPECT_EQ(back.mask->sha256, "ab");
}

TEST(Plan, SaysHowManyDirectionsStayAndOfWhichText) {
  Plan plan;
  plan.rotation = {.channels = 16, .kept = 12, .calibration = {"a.txt", 8, 64, 3, "ab"}};
  const Json json = to_json(plan);
  EXPECT_EQ(json.at("version"), 4);
  const Plan back = plan_from_json(json, "plan");
  ASSERT_TRUE(back.rotation.has_value());
  EXPECT_EQ(back.rotation->channels, 16);
  EXPECT_EQ(back.rotation->kept, 12);
  EXPECT_EQ(back.rotation->calibration.file, "a.txt");
  EXPECT_EQ(back.rotation->calibration.samples, 8);
  EXPECT_EQ(back.rotation->calibration.tokens, 64);
  EXPECT_EQ(back.rotation->calibration.seed, 3U);
  EXPECT_EQ(back.rotation->calibration.windows_sha256, "ab");
  const auto refuse = [&](const char* key, const Json& value) {
    Json spoilt = json;
    spoilt["rotation"][key] = value;
    expect_kind(ErrorKind::Corrupt, [&] { plan_from_json(spoilt, "plan"); });
  };
  refuse("kept", 17);
  refuse("kept", 0);
  refuse("channels", "all");
  refuse("calibration", Json::object());
  refuse("calibration",
         {{"file", "a"}, {"samples", 0}, {"tokens", 64}, {"seed", 3}, {"windows_sha256", ""}});
}

TEST(ResultOf, RefusesMasksThatAreNotThePlans) {
  const Model model = tiny_model({});
  const TempDir folder;
  Plan plan;
  plan.mask = {Pattern{}, 0.5, sha256_of_masks(model, mask_files(model, folder.path()))};
  EXPECT_EQ(result_of(model, plan, folder.path()).parameters(), model.parameters());
  const TensorInfo& up = model.tensor(Role::UpProj, 0);
  mask_files(model, folder.path()).keep(0, {{&up, pack_mask(at::ones(up.shape, at::kBool))}});
  expect_kind(ErrorKind::Corrupt, [&] { result_of(model, plan, folder.path()); });
  expect_kind(ErrorKind::NotFound, [&] { result_of(model, plan, folder / "none"); });
}

TEST(Plan, RefusesWhatIsNotAPlan) {
  const Json good = to_json(sample_plan());
  const auto refuse = [&](const std::function<void(Json&)>& spoil) {
    Json json = good;
    spoil(json);
    expect_kind(ErrorKind::Corrupt, [&] { plan_from_json(json, "plan"); });
  };
  refuse([](Json& json) { json = Json::array(); });
  refuse([](Json& json) { json["format"] = "other"; });
  refuse([](Json& json) { json["version"] = 3; });  // has no solver
  refuse([](Json& json) { json["version"] = 4; });  // has no rotation
  refuse([](Json& json) { json["version"] = 5; });  // has no sparse
  refuse([](Json& json) { json["version"] = 6; });
  refuse([](Json& json) { json["version"] = 2; });  // has no mask
  const auto refuse_mask = [&](const char* key, const Json& value) {
    refuse([&](Json& json) {
      json["version"] = 2;
      json["mask"] = {{"pattern", "2:4"}, {"sparsity", 0.5}, {"sha256", "ab"}};
      json["mask"][key] = value;
    });
  };
  refuse_mask("pattern", "4:2");
  refuse_mask("sparsity", 1);
  refuse_mask("sparsity", "half");
  refuse_mask("sha256", 7);
  // As a 32-bit number that would be layer 0.
  refuse([](Json& json) { json["groups"][0]["layer"] = int64_t{1} << 32; });
  refuse([](Json& json) { json["groups"][0]["units"] = 1e300; });
  refuse([](Json& json) { json["groups"][0]["keep"] = {{"a", 1}}; });
  refuse([](Json& json) { json.erase("groups"); });
  refuse([](Json& json) { json["groups"][0]["axis"] = "tokens"; });
  refuse([](Json& json) { json["groups"][0]["keep"] = "all"; });
  refuse([](Json& json) { json["groups"][1]["scores"] = {1.0}; });
  refuse([](Json& json) { json["groups"][0].erase("units"); });
  refuse([](Json& json) { json["groups"][0]["layer"] = 0.7; });
  refuse([](Json& json) { json["groups"][0]["keep"] = {1.5}; });
}

TEST(CheckPlan, RefusesAPlanForAnotherModel) {
  const Model model = tiny_model({});
  EXPECT_NO_THROW(check_plan(sample_plan(), model));
  Plan other = sample_plan();
  other.entries[0].units = 13;
  expect_kind(ErrorKind::InvalidArgument, [&] { check_plan(other, model); });
  other = sample_plan();
  other.entries.push_back(other.entries[0]);
  other.entries[0].units = 12;
  other.entries[2].units = 12;
  expect_kind(ErrorKind::InvalidArgument, [&] { check_plan(other, model); });
  other = sample_plan();
  other.entries[0].keep.layer = 2;
  expect_kind(ErrorKind::InvalidArgument, [&] { check_plan(other, model); });
}

}  // namespace
}  // namespace prunus::test::plan_test
