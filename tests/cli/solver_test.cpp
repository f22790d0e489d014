// Solvers and the search for a budget, from the command line.
#include "prunus/model/model.h"

#include "cli/fixture.h"

namespace prunus::test_cli::solver_test {
namespace {

class Solving : public CliTest {
 protected:
  std::string text = file("text.txt", some_text(400));

  Outcome with(Arguments arguments, const Arguments& more) const {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
};

TEST_F(Solving, ApplySolvesAgainToTheSameBytes) {
  const Arguments how = {"--method", "l2",      "--solver", "least-squares",  "--ratio",
                         "0.5",      "--calib", text,       "--calib-tokens", "16"};
  expect_model(with({"prune", model, "--out", out}, how), out);
  const Json solver = json_of(out + "/run.json").at("solver");
  EXPECT_EQ(solver.at("parts").size(), 4U);  // of two layers
  for (const Json& part : solver.at("parts")) {
    EXPECT_LT(part.at("error_after").get<double>(), part.at("error_before").get<double>());
  }
  ASSERT_EQ(with({"prune", model, "--out", dir / "plan", "--dry-run"}, how).exit_code, 0);
  const std::string plan = dir / "plan/plan.json";
  EXPECT_EQ(read(plan), read(out + "/plan.json"));
  expect_model(run({"apply", model, "--plan", plan, "--out", dir / "again"}), dir / "again");
  for (const char* name : {"/model.safetensors", "/plan.json"}) {
    EXPECT_EQ(read(dir / "again" + name), read(out + name)) << name;
  }
  EXPECT_FALSE(fs::exists(dir / "again/solved"));
}

TEST_F(Solving, ApplyRefusesTextThatIsNotThePlans) {
  const std::string made = dir / "made";
  ASSERT_EQ(run({"prune", model, "--out", made, "--method", "l2", "--solver", "least-squares",
                 "--calib", text, "--calib-tokens", "16", "--dry-run"})
                .exit_code,
            0);
  const auto apply = [&](Arguments more) {
    return with({"apply", model, "--plan", made + "/plan.json", "--out", out}, more);
  };
  expect_failed(apply({"--calib", file("other.txt", some_text(390))}), 2, "another hash");
  fs::rename(text, dir / "moved.txt");
  expect_failed(apply({}), 3, "pass --calib FILE");
  expect_model(apply({"--calib", dir / "moved.txt"}), out);
}

TEST_F(Solving, SearchesHowMuchEachPartGives) {
  expect_model(run({"prune", model, "--out", out, "--method", "prunus", "--ratio", "0.4", "--calib",
                    text, "--calib-samples", "12", "--calib-tokens", "16"}),
               out);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("search").at("parts").size(), 4U);
  EXPECT_GT(record.at("parameters_removed"), 0);
  EXPECT_EQ(record.at("options").at("budget"), "search");
}

TEST_F(Solving, TheSearchMeetsATargetOfBytes) {
  const Outcome done =
      run({"prune", model, "--out", out, "--method", "prunus", "--target-bytes", "40KiB", "--calib",
           text, "--calib-samples", "4", "--calib-tokens", "16", "--precision", "bfloat16"});
  expect_model(done, out);
  const Json result = json_of(out + "/run.json").at("result");
  EXPECT_LE(result.at("bytes").get<int64_t>(), 40 * 1024);
  EXPECT_GT(result.at("bytes").get<int64_t>(), 36 * 1024);
  EXPECT_EQ(json_of(out + "/plan.json").at("solver").at("precision"), "bfloat16");
  const std::string again = dir / "again";
  EXPECT_EQ(run({"apply", model, "--plan", out + "/plan.json", "--out", again}).exit_code, 0);
  EXPECT_TRUE(read(again + "/model.safetensors") == read(out + "/model.safetensors"));
}

// Layers made of others, and the stream scaled behind those that went.
TEST_F(Solving, ApplyCollapsesAndScalesToTheSameBytes) {
  save({.family = "llama", .vocab = kVocab, .layers = 6});
  const Arguments how = {"--method", "laco",    "--solver", "prune-comp",     "--ratio",
                         "0.4",      "--calib", text,       "--calib-tokens", "16"};
  expect_model(with({"prune", model, "--out", out}, how), out);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("solver").at("name"), "prune-comp");
  EXPECT_EQ(record.at("solver").at("scales").size(), 3U);
  const std::string plan = out + "/plan.json";
  EXPECT_EQ(json_of(plan).at("version"), 5);
  expect_model(run({"apply", model, "--plan", plan, "--out", dir / "again"}), dir / "again");
  EXPECT_EQ(read(dir / "again/model.safetensors"), read(out + "/model.safetensors"));
}

TEST_F(Solving, PrunesInTwoStages) {
  save({.family = "llama", .vocab = kVocab, .layers = 4});
  expect_model(
      run({"prune", model, "--out", out, "--method", "2ssp", "--ratio", "0.5", "--calib", text,
           "--calib-samples", "12", "--calib-tokens", "16", "--solver", "least-squares"}),
      out);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("options").at("budget"), "two_stage");
  EXPECT_GT(record.at("parameters_removed"), 0);
}

TEST_F(Solving, WhatDoesNotGoTogetherIsSaid) {
  const auto prune_with = [&](const Arguments& more) {
    return with({"prune", model, "--out", out, "--calib", text, "--calib-tokens", "16"}, more);
  };
  expect_failed(
      prune_with({"--solver", "least-squares", "--structure", "channel", "--method", "l2"}), 2,
      "not with --structure channel");
  expect_failed(prune_with({"--method", "prunus", "--steps", "2"}), 2, "--budget search");
  expect_failed(prune_with({"--method", "prunus", "--target-bytes", "1KiB"}), 2, "may keep");
  expect_failed(run({"prune", model, "--out", out, "--method", "l2", "--solver", "bias"}), 2,
                "--solver bias learns from text: pass --calib FILE");
}

}  // namespace
}  // namespace prunus::test_cli::solver_test
