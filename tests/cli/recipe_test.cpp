// --config: what a recipe gives is what the command line would have given.
#include "prunus/base/recipe.h"

#include "prunus/base/run_schema.h"
#include "prunus/eval/eval_table.h"

#include "cli/fixture.h"

namespace prunus::test_cli::recipe_test {
namespace {

class RecipeCommand : public CliTest {
 protected:
  std::string recipe(const std::string& lines) const { return file("recipe.toml", lines); }
  std::string path_line(const std::string& key, const std::string& path) const {
    return key + " = \"" + path + "\"\n";
  }
  // Options of a run but where it was written and what told it.
  static Json told(const std::string& output) {
    Json options = json_of(output + "/run.json").at("options");
    options.erase("out");
    options.erase("recipe");
    return options;
  }
  static void expect_same_result(const std::string& got, const std::string& wanted) {
    EXPECT_EQ(told(got), told(wanted));
    for (const char* name : {"/model.safetensors", "/config.json"}) {
      EXPECT_EQ(read(got + name), read(wanted + name)) << name;
    }
  }

  std::string text = file("text.txt", some_text(120));
};

TEST_F(RecipeCommand, PrunesAsTheSameFlagsDo) {
  const std::string other = dir / "other";
  ASSERT_EQ(run({"prune",    model,       "--out",           other,    "--calib",        text,
                 "--taylor", "param_mix", "--attn-ratio",    "0.5",    "--ratio",        "0.25",
                 "--layers", "0:1",       "--calib-samples", "3",      "--calib-tokens", "16",
                 "--seed",   "5",         "--precision",     "float64"})
                .exit_code,
            0);
  const std::string plum =
      recipe(path_line("model", model) + path_line("out", out) + path_line("calib", text) +
             "taylor = \"param_mix\"\nattn_ratio = 0.5\nratio = 0.25\nlayers = [0, 1]\n"
             "calib_samples = 3\ncalib_tokens = 16\nseed = 5\nprecision = \"float64\"\n");
  expect_model(run({"prune", "--config", plum}), out);
  expect_same_result(out, other);
  EXPECT_EQ(read(out + "/plan.json"), read(other + "/plan.json"));
  EXPECT_EQ(json_of(out + "/run.json").at("options").at("recipe"), plum);
  EXPECT_EQ(json_of(other + "/run.json").at("options").at("recipe"), "");
}

TEST_F(RecipeCommand, RecoversAsTheSameFlagsDo) {
  const std::string other = dir / "other";
  ASSERT_EQ(run({"recover", model, "--out", other, "--data", text, "--full", "--max-steps", "3",
                 "--weight-decay", "0.1", "--no-eos", "--valid-split", "0"})
                .exit_code,
            0);
  const std::string plum = recipe(path_line("model", model) + path_line("out", out) +
                                  "[recover]\n" + path_line("data", text) +
                                  "full = true\nmax_steps = 3\nweight_decay = 0.1\nno_eos = true\n"
                                  "valid_split = 0\n");
  expect_model(run({"recover", "--config", plum}), out);
  expect_same_result(out, other);
  EXPECT_EQ(told(out).at("mode"), "full");
  EXPECT_EQ(told(out).at("training").at("lr"), 3e-4);  // the mode's
}

TEST_F(RecipeCommand, ARecipeMayHoldWhatTheCommandLineHasNoOptionFor) {
  const std::string plum = recipe("schedule = \"wsd\"\ndecay_fraction = 0.5\nfinal_lr = 0.1\n");
  ASSERT_EQ(run({"recover", model, "--out", out, "--data", text, "--max-steps", "2", "--config",
                 plum, "--adapter-only"})
                .exit_code,
            0);
  const Json training = told(out).at("training");
  EXPECT_EQ(training.at("decay_fraction"), 0.5);
  EXPECT_EQ(training.at("final_fraction"), 0.1);
}

TEST_F(RecipeCommand, ServesEveryCommand) {
  const std::string plum = recipe(
      path_line("model", model) + "[prune]\nmethod = \"l2\"\ndry_run = true\n" +
      path_line("out", dir / "draft") + "[apply]\n" + path_line("plan", dir / "draft/plan.json") +
      path_line("out", dir / "applied") + "[recover]\nadapter_only = true\nmax_steps = 1\n" +
      path_line("data", text) + path_line("out", dir / "adapter") + "[merge]\n" +
      path_line("adapter", dir / "adapter") + path_line("out", dir / "merged") +
      "[eval]\nppl = [\"" + text + "\"]\n" + path_line("out", dir / "eval.json") +
      "json = true\n[bench]\nprompt_tokens = [3]\nbatch = [1, 2]\nnew_tokens = 2\nrepeat = 1\n" +
      path_line("out", dir / "bench.json") + "[import]\n" +
      path_line("model", test::source_path("tests/model/golden_gguf/qwen2.gguf")) +
      path_line("out", dir / "imported"));
  for (const char* command : {"prune", "apply", "recover", "merge", "eval", "bench", "import"}) {
    const Outcome done = run({command, "--config", plum});
    EXPECT_EQ(done.exit_code, 0) << done.err;
  }
  EXPECT_EQ(json_of(dir / "bench.json").at("models")[0].at("cases").size(), 2U);
  const Json eval = json_of(dir / "eval.json");
  EXPECT_EQ(eval.at("options").at("recipe"), plum);
  EXPECT_NO_THROW(check_run(eval, "eval"));
  // What is the program's, the library passes over.
  EvalJob job;
  read_recipe(plum, eval_table, job);
  EXPECT_EQ(job.texts, std::vector<std::string>{text});
  BenchJob bench;
  read_recipe(plum, bench_table, bench);
  EXPECT_EQ(bench.batches, (std::vector<int64_t>{1, 2}));
}

TEST_F(RecipeCommand, TrainHasAnotherNameForIt) {
  const std::string plum =
      recipe("[train]\n" + path_line("config", model) + path_line("data", text) +
             path_line("out", out) + "max_steps = 2\nbatch = 4\noptimizer = \"adamw\"\n");
  expect_model(run({"train", "--recipe", plum}), out);
  const Json options = json_of(out + "/run.json").at("options");
  EXPECT_EQ(options.at("config"), model);
  EXPECT_EQ(options.at("recipe"), plum);
  EXPECT_EQ(options.at("optimizer"), "adamw");
}

TEST_F(RecipeCommand, TheCommandLineComesFirst) {
  const std::string plum =
      recipe(path_line("model", dir / "none") + path_line("out", dir / "none") +
             "method = \"l2\"\nratio = 0.5\nglobal = true\nseed = 1\n");
  expect_model(
      run({"prune", model, "--recipe=" + plum, "--out", out, "--ratio", "0.25", "--global=false"}),
      out);
  const Json options = told(out);
  EXPECT_EQ(options.at("ratio"), 0.25);
  EXPECT_EQ(options.at("global"), false);
  EXPECT_EQ(options.at("method"), "l2");
  EXPECT_EQ(options.at("seed"), 1);
}

TEST_F(RecipeCommand, WhatIsWrongIsNamedByFileLineAndColumn) {
  const auto refuse = [&](const std::string& lines, int code, const std::string& part) {
    expect_failed(run({"prune", model, "--out", out, "--config", recipe(lines)}), code,
                  dir / "recipe.toml" + part);
  };
  refuse("\nraito = 0.5\n", 2,
         ":2:1: raito: `prunus prune` has no such option; did you mean 'ratio'");
  refuse("ratio = \"0.5\"\n", 2, ":1:9: ratio: got text, expected a number from 0 to 1, 1 not");
  refuse("[prune]\nratio = 1\n", 2, ":2:9: ratio: got '1', expected a number");
  refuse("structure = \"blok\"\n", 2, ":1:13: structure: 'blok' is not known; known: block");
  refuse("layers = \"0-1\"\n", 2, ":1:10: layers: got '0-1', expected BEGIN:END");
  refuse("device = \"abacus\"\n", 2, ":1:10: device abacus, expected cpu");
  refuse("ratio = 0.5\npreset = \"llm-pruner-20\"\n", 2,
         ":2:10: preset: cannot be given together with ");
  refuse("ratio = \n", 3, ":1:9: no TOML");
  expect_failed(run({"prune", model, "--out", out, "--config", dir / "none.toml"}), 3, "none.toml");
  expect_failed(run({"prune", model, "--config", recipe("method = \"l2\"\n")}), 2,
                "prune: --out is required, on the command line or as out in the recipe");
  expect_failed(run({"recover", model, "--out", out, "--config",
                     recipe("full = true\nsub_block = true\n" + path_line("data", text))}),
                2, "choose one");
}

TEST_F(RecipeCommand, KeptLayersNeedNothingElseInARecipeEither) {
  expect_failed(run({"prune", model, "--out", out, "--config",
                     recipe("structure = \"layer\"\nkeep_first = 1\nratio = 0.5\n")}),
                2, "ratio has no part in --structure layer");
  expect_model(run({"prune", model, "--out", out, "--config",
                    recipe("structure = \"layer\"\ndrop_layers = [1]\n")}),
               out);
}

}  // namespace
}  // namespace prunus::test_cli::recipe_test
