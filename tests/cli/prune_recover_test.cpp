// prunus prune --recover as a user runs it.
#include "cli/fixture.h"

namespace prunus::test_cli::prune_recover_test {
namespace {

class PruneRecover : public CliTest {
 protected:
  Outcome prune_to(const std::string& path, const std::string& ratio,
                   const Arguments& more = {}) const {
    Arguments all{"prune",          model, "--out",   path, "--method",        "wanda-sp",
                  "--ratio",        ratio, "--calib", text, "--calib-samples", "4",
                  "--calib-tokens", "32"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }
  Outcome prune(Arguments more = {}, const std::string& ratio = "0.5") const {
    more.insert(more.end(), {"--recover", "--recover-tokens", "3000"});
    return prune_to(out, ratio, more);
  }
  // With the pruned model of an earlier run in its place.
  static void expect_refused(const Outcome& run, const std::string& message) {
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_THAT(run.err, HasSubstr(message));
  }
  const std::string pruned = out + ".pruned";
  std::string text = file("text.txt", some_text(400));
};

TEST_F(PruneRecover, GivesWhatTheTwoCommandsGive) {
  const Outcome done = prune();
  expect_model(done, out);
  EXPECT_THAT(done.out, HasSubstr("pruning took"));
  EXPECT_THAT(done.out, HasSubstr("validation after"));
  EXPECT_FALSE(fs::exists(pruned));
  EXPECT_FALSE(fs::exists(out + ".work"));

  const Json record = json_of(out + "/run.json");
  const std::string dtype = record.at("options").at("training").at("compute");
  const std::string smaller = dir / "smaller";
  const std::string better = dir / "better";
  ASSERT_EQ(prune_to(smaller, "0.5").exit_code, 0);
  ASSERT_EQ(run({"recover", smaller, "--out", better, "--data", text, "--teacher", model, "--full",
                 "--max-steps", "6", "--batch", "8", "--row-tokens", "64", "--dtype", dtype})
                .exit_code,
            0);
  EXPECT_TRUE(read(out + "/model.safetensors") == read(better + "/model.safetensors"));
  EXPECT_TRUE(read(out + "/plan.json") == read(smaller + "/plan.json"));
  EXPECT_EQ(record.at("command"), "recover");
  EXPECT_EQ(record.at("prune").at("source"), json_of(smaller + "/run.json").at("source"));
  EXPECT_EQ(record.at("prune").at("command"), "prune");
  EXPECT_LT(record.at("training").at("valid_loss"), record.at("training").at("valid_loss_before"));
}

TEST_F(PruneRecover, GoesOnBehindPruning) {
  // As a run leaves it that was stopped while it trained.
  ASSERT_EQ(prune_to(pruned, "0.5").exit_code, 0);
  const auto written = fs::last_write_time(pruned + "/model.safetensors");
  expect_refused(prune(), "--resume goes on with it, --force begins anew");
  expect_refused(prune({"--resume"}, "0.25"), "is of another run, with 'ratio' 0.5, here 0.25");
  EXPECT_EQ(fs::last_write_time(pruned + "/model.safetensors"), written);
  const Json source = json_of(pruned + "/run.json").at("source");
  expect_model(prune({"--resume"}), out);
  EXPECT_EQ(json_of(out + "/run.json").at("prune").at("source"), source);
  EXPECT_FALSE(fs::exists(pruned));
}

TEST_F(PruneRecover, RefusesBeforeAnythingIsDone) {
  expect_failed(prune({"--dry-run"}), 2, "--dry-run writes none");
  expect_failed(prune({"--form", "remote-code"}), 2, "run `prunus export` on the result");
  expect_failed(prune_to(out + ".gguf", "0.5", {"--recover"}), 2, "writes a model directory");
  expect_failed(prune({"--recover-data", dir / "none.txt"}), 3, "none.txt");
  expect_failed(
      run({"prune", model, "--out", out, "--method", "l2", "--ratio", "0.5", "--recover"}), 2,
      "--recover learns from text");
  expect_failed(prune_to(out, "0.5", {"--recover-tokens", "100"}), 2,
                "--recover-tokens is for --recover");
}

}  // namespace
}  // namespace prunus::test_cli::prune_recover_test
