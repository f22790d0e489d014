// A turned residual stream, from the command line.
#include "prunus/model/model.h"

#include "cli/fixture.h"

namespace prunus::test_cli::rotation_test {
namespace {

class Rotation : public CliTest {
 protected:
  const Arguments how_ = {"--method",        "slicegpt",
                          "--ratio",         "0.25",
                          "--calib",         file("text.txt", some_text(400)),
                          "--calib-samples", "8",
                          "--calib-tokens",  "16"};

  Outcome with(Arguments arguments, const Arguments& more) const {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
};

TEST_F(Rotation, WritesAStockModelOfFewerChannels) {
  test::TinySizes tied = tiny();
  tied.tied = true;
  save(tied);
  expect_model(with({"prune", model, "--out", out}, how_), out);
  const Json config = json_of(out + "/config.json");
  EXPECT_EQ(config.at("hidden_size"), 12);
  EXPECT_EQ(config.at("head_dim"), 4);
  EXPECT_EQ(config.at("model_type"), "llama");
  EXPECT_EQ(config.at("tie_word_embeddings"), false);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("rotation").at("channels_before"), 16);
  EXPECT_EQ(record.at("rotation").at("channels"), 12);
  EXPECT_GT(record.at("rotation").at("energy").get<double>(), 0.75);
  EXPECT_LT(record.at("rotation").at("energy").get<double>(), 1);
}

TEST_F(Rotation, ApplyTurnsAgainToTheSameBytes) {
  expect_model(with({"prune", model, "--out", out}, how_), out);
  ASSERT_EQ(with({"prune", model, "--out", dir / "plan", "--dry-run"}, how_).exit_code, 0);
  const std::string plan = dir / "plan/plan.json";
  EXPECT_EQ(read(plan), read(out + "/plan.json"));
  expect_model(run({"apply", model, "--plan", plan, "--out", dir / "again"}), dir / "again");
  EXPECT_EQ(read(dir / "again/model.safetensors"), read(out + "/model.safetensors"));
}

TEST_F(Rotation, ApplyRefusesTextThatIsNotThePlans) {
  ASSERT_EQ(with({"prune", model, "--out", dir / "made", "--dry-run"}, how_).exit_code, 0);
  const std::string other = file("other.txt", some_text(390));
  expect_failed(
      run({"apply", model, "--plan", dir / "made/plan.json", "--out", out, "--calib", other}), 2,
      "another hash");
}

TEST_F(Rotation, WhatDoesNotGoTogetherIsSaid) {
  expect_failed(run({"prune", model, "--out", out, "--method", "slicegpt"}), 2,
                "method slicegpt learns from text: pass --calib FILE");
  expect_failed(with({"prune", model, "--out", out, "--structure", "block"}, how_), 2,
                "it is for --structure channel");
}

}  // namespace
}  // namespace prunus::test_cli::rotation_test
