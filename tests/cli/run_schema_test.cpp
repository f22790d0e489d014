// Every command that writes or prints JSON keeps to the one schema of run.json.
#include "prunus/base/run_schema.h"

#include "prunus/cli/command.h"

#include "cli/fixture.h"

namespace prunus::test_cli::run_schema_test {
namespace {

/// Commands whose records are looked at below, and those that have none.
const std::set<std::string> kWithRecord = {"apply",     "bench",   "compare", "eval",  "export",
                                           "import",    "inspect", "merge",   "prune", "recover",
                                           "tokenizer", "train",   "verify"};
const std::set<std::string> kWithout = {"completion", "families", "generate",
                                        "logits",     "man",      "options"};

class RunSchema : public CliTest {
 protected:
  // A record of this command with all its keys and no other.
  static void hold(const Json& record, const std::string& command) {
    EXPECT_NO_THROW(check_run(record, command)) << record.dump(1).substr(0, 4000);
    ASSERT_EQ(record.value("command", ""), command);
    EXPECT_TRUE(kWithRecord.contains(command));
    EXPECT_THAT(unknown_run_keys(record), ::testing::IsEmpty());
    EXPECT_FALSE(record.at("options").empty());
  }

  // What a command prints. Where it makes a directory, the same must stand in its run.json.
  Json printed(Arguments arguments, const std::string& directory = "") const {
    if (arguments[0] != "compare") arguments.emplace_back("--json");
    const Outcome done = run(arguments);
    EXPECT_EQ(done.exit_code, 0) << done.err;
    const Json record = parse_json(done.out, "stdout");
    hold(record, arguments[0]);
    if (directory.empty()) return record;
    const Json written = json_of(directory + "/run.json");
    hold(written, arguments[0]);
    EXPECT_EQ(written.at("result"), record.at("result"));
    return record;
  }

  Json recovered(const std::string& to, Arguments more) const {
    Arguments all{"recover", model, "--out", to, "--data", text, "--max-steps", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return printed(all, to);
  }

  std::string text = file("text.txt", some_text(40));
};

TEST_F(RunSchema, KnowsEveryCommandThereIs) {
  std::set<std::string> all = kWithRecord;
  all.insert(kWithout.begin(), kWithout.end());
  std::set<std::string> there;
  for (const Command* command : commands::all()) there.emplace(command->name);
  EXPECT_EQ(there, all) << "a new command belongs into one of the lists above";
}

TEST_F(RunSchema, HoldsForPruneAndApply) {
  const std::string by_text = dir / "by-text";
  const Json calibrated =
      printed({"prune", model, "--out", by_text, "--calib", text, "--calib-samples", "2",
               "--calib-tokens", "16", "--ratio", "0.5"},
              by_text);
  EXPECT_TRUE(calibrated.contains("calibration"));
  EXPECT_TRUE(calibrated.contains("calibration_loss"));
  const std::string plan = dir / "plan";
  const Json dry = printed({"prune", model, "--out", plan, "--method", "l2", "--dry-run"}, plan);
  EXPECT_FALSE(dry.contains("output_check"));
  const Json untouched = printed(
      {"prune", model, "--out", dir / "same", "--method", "l2", "--ratio", "0.01"}, dir / "same");
  EXPECT_TRUE(untouched.contains("untouched"));
  printed({"apply", model, "--plan", plan + "/plan.json", "--out", out}, out);
  const std::string sparse = dir / "sparse";
  EXPECT_TRUE(
      printed({"prune", model, "--out", sparse, "--method", "l1", "--structure", "weight"}, sparse)
          .contains("mask"));
}

TEST_F(RunSchema, HoldsForExport) {
  const Json written = printed({"export", model, "--form", "shell", "--out", out}, out);
  EXPECT_EQ(written.at("form").at("form"), "shell");
  const Json dry = printed({"export", model, "--out", dir / "dry", "--dry-run"});
  EXPECT_FALSE(dry.contains("result"));
  EXPECT_FALSE(fs::exists(dir / "dry"));
}

TEST_F(RunSchema, HoldsForRecoverAndMerge) {
  const std::string smaller = dir / "smaller";
  const std::string adapter = dir / "adapter";
  ASSERT_EQ(run({"prune", model, "--out", smaller, "--method", "l2"}).exit_code, 0);
  recovered(dir / "lora", {});
  recovered(dir / "full", {"--full"});
  EXPECT_FALSE(recovered(adapter, {"--adapter-only"}).contains("result_files"));
  const Json parts = printed({"recover", smaller, "--out", dir / "parts", "--data", text,
                              "--teacher", model, "--sub-block", "--sub-block-rows", "8"},
                             dir / "parts");
  EXPECT_FALSE(parts.at("sub_blocks").empty());
  printed({"merge", model, "--adapter", adapter, "--out", out}, out);
}

TEST_F(RunSchema, HoldsForImport) {
  const std::string file = test::source_path("tests/model/golden_gguf/qwen2.gguf");
  const Json record = printed({"import", file, "--out", out, "--dtype", "bf16"}, out);
  EXPECT_EQ(record.at("source_files").at(0).at("file"), "qwen2.gguf");
  const Json inspected = printed({"inspect", file});
  EXPECT_EQ(inspected.at("dtype"), "BF16, F16, F32");
  EXPECT_EQ(run({"import", model, "--out", dir / "other"}).exit_code, 2);
}

TEST_F(RunSchema, HoldsForTrainAndTokenizer) {
  printed({"train", "--config", model, "--data", text, "--out", out, "--max-steps", "2", "--batch",
           "4"},
          out);
  const std::string pieces = dir / "pieces";
  ASSERT_EQ(run({"tokenizer", "--data", text, "--out", pieces, "--vocab-size", "300"}).exit_code,
            0);
  hold(json_of(pieces + "/run.json"), "tokenizer");
}

TEST_F(RunSchema, HoldsForEval) {
  const std::string tasks = dir / "tasks";
  fs::create_directories(tasks);
  file("tasks/piqa.jsonl", R"({"goal": "Eat.", "sol1": "Bite it", "sol2": "Sit", "label": 0})"
                           "\n");
  const Json plain = printed({"eval", model, "--ppl", text, "--out", dir / "dense.json"});
  EXPECT_EQ(json_of(dir / "dense.json"), plain);
  EXPECT_EQ(plain.at("source").at("parameters"), plain.at("parameters"));
  EXPECT_EQ(plain.at("source_files").size(), 2U);
  printed({"eval", model, "--ppl", text, "--protocol", "lm-eval-word"});
  printed({"eval", model, "--ppl", text, "--relative-to", dir / "dense.json"});
  const Json all = printed(
      {"eval", model, "--tasks", "piqa", "--task-dir", tasks, "--kl-to", model, "--text", text});
  EXPECT_TRUE(all.contains("kl"));
  EXPECT_TRUE(all.at("results").empty());
  EXPECT_EQ(all.at("stages").size(), 3U);
}

TEST_F(RunSchema, HoldsForBenchInspectAndCompare) {
  const Arguments bench{"bench",    model, "--prompt-tokens", "3", "--batch", "1",
                        "--repeat", "1",   "--new-tokens",    "2"};
  Arguments one = bench;
  one.insert(one.end(), {"--out", dir / "b.json"});
  const Json alone = printed(one);
  EXPECT_EQ(json_of(dir / "b.json"), alone);
  EXPECT_EQ(alone.at("models")[0].at("source_files").size(), 2U);
  Arguments two = bench;
  two.insert(two.end(), {"--vs", model});
  EXPECT_TRUE(printed(two).contains("ratios"));
  printed({"inspect", model});
  printed({"inspect", model + "/config.json"});
  const Json table = printed({"compare", model, dir / "b.json", "--format", "json"});
  EXPECT_EQ(table.at("models").size(), 1U);
}

TEST_F(RunSchema, HoldsForVerify) {
  EXPECT_EQ(printed({"verify", model, model}).at("stages").size(), 3U);
  printed({"verify", model, model, "--random", "--tokens", "8", "--tolerance", "1"});
}

}  // namespace
}  // namespace prunus::test_cli::run_schema_test
