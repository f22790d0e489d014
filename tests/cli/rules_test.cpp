// What holds for every command: usage, what stands is not overwritten, failures leave nothing.
#include <chrono>
#include <thread>

#include "cli/fixture.h"
#include "support/paths.h"

namespace prunus::test_cli::rules_test {
namespace {

class Rules : public CliTest {
 protected:
  // A model whose calibration takes seconds; runs until stopped.
  Arguments long_run() const {
    save({.family = "llama",
          .hidden = 128,
          .head_dim = 32,
          .ffn = 512,
          .vocab = kVocab,
          .layers = 24});
    const std::string text = file("text.txt", some_text(800));
    return {"prune",           model, "--out",   out,         "--calib", text,
            "--calib-samples", "500", "--quiet", "--threads", "1"};
  }

  bool staging_appears() const {
    for (int i = 0; i < 3000; ++i) {
      for (const std::string& name : names_in(dir.path())) {
        if (name.starts_with("out.partial")) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
};

TEST_F(Rules, HelpNamesEveryCommandAndItsOptions) {
  const Outcome help = prunus({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"apply", "bench", "compare", "eval", "generate", "import", "inspect",
                              "merge", "prune", "recover", "tokenizer", "train"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    const Outcome more = prunus({command, "--help"});
    EXPECT_EQ(more.exit_code, 0);
    EXPECT_THAT(more.out, HasSubstr("--threads"));
    EXPECT_EQ(more.err, "");
  }
  const Outcome version = prunus({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, ::testing::StartsWith("prunus 0."));
}

TEST_F(Rules, AWrongCommandLineIsAUsageError) {
  const std::string text = file("text.txt", some_text(40));
  const std::vector<Arguments> lines = {
      {},
      {"frobnicate"},
      {"prune", model},
      {"prune", model, "--out", out, "--no-such-option"},
      {"prune", model, "--out", out, "--ratio", "much"},
      {"prune", model, "--out", out, "--calib-samples", "0"},
      {"prune", model, "--out", out, "--seed", "-1"},
      {"eval", model, "--ppl", text, "--seqlen", "1"},
      {"generate", model},
      {"apply", model, "--out", out},
  };
  for (const Arguments& line : lines) {
    SCOPED_TRACE(::testing::PrintToString(line));
    const Outcome run = prunus(line);
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_NE(run.err, "");
    EXPECT_EQ(run.out, "");
    EXPECT_FALSE(fs::exists(out));
  }
}

TEST_F(Rules, ARequestWithoutSenseIsRefusedInOneLine) {
  const std::string text = file("text.txt", some_text(40));
  expect_failed(prune({"--ratio", "1"}), 2, "--ratio");
  expect_failed(prune({"--ratio", "-0.1"}), 2, "--ratio");
  expect_failed(prune({"--ratio", "nan"}), 2, "--ratio");
  expect_failed(prune({"--ratio", "0.99"}), 2, "lower --ratio");
  expect_failed(prune({"--layers", "1:1"}), 2, "--layers");
  expect_failed(prune({"--layers", "0:3"}), 2, "--layers");
  expect_failed(prune({"--layers", "0-1"}), 2, "--layers");
  expect_failed(prune({"--taylor", "vectorize"}), 2, "--taylor");
  expect_failed(prune({"--device", "abacus"}), 2, "--device");
  expect_failed(run({"prune", model, "--out", out, "--method", "magic"}), 2, "llm-pruner");
  expect_failed(run({"prune", model, "--out", out}), 2, "--calib");
  expect_failed(run({"prune", model, "--out", "", "--method", "l2"}), 2, "--out");
  expect_failed(run({"eval", model, "--ppl", text, "--seqlen", "65"}), 2, "context of 64");
  expect_failed(run({"generate", model, "--prompt", "a", "--max-tokens", "0"}), 2, "--max-tokens");
  expect_failed(run({"generate", model, "--prompt", text + text + text}), 2, "context");
}

TEST_F(Rules, TheContextIsTheLongestWindow) {
  const std::string text = file("text.txt", some_text(60));
  for (const char* family : {"llama", "qwen2"}) {
    SCOPED_TRACE(family);
    save(tiny(family));
    const Arguments line{"prune", model, "--out", out, "--calib", text, "--calib-tokens"};
    Arguments longer = line;
    longer.emplace_back("65");
    expect_failed(run(longer), 2, "--calib-tokens 65 is beyond the model's context of 64");
    Arguments fits = line;
    fits.emplace_back("64");
    expect_model(run(fits), out);
    fs::remove_all(out);
  }
  std::string ids = "1";
  for (int i = 0; i < 64; ++i) ids += ",1";
  expect_failed(run({"logits", model, "--ids", ids}), 2, "--ids");
  expect_failed(run({"eval", model, "--ppl", text, "--seqlen", "65"}), 2, "--seqlen");
  expect_failed(run({"bench", model, "--prompt-tokens", "65"}), 2, "--prompt-tokens");
  expect_failed(run({"recover", model, "--out", out, "--data", text, "--row-tokens", "65"}), 2,
                "--row-tokens");
}

TEST_F(Rules, AWordThatIsNotKnownIsAnsweredWithTheNearest) {
  const std::string text = file("text.txt", some_text(40));
  const Arguments prune{"prune", model, "--out", out};
  const std::vector<std::pair<Arguments, const char*>> cases = {
      {{"--method", "llmpruner"}, "'llm-pruner'"},
      {{"--method", "l2", "--reduction", "sun"}, "'sum'"},
      {{"--method", "l2", "--structure", "blocks"}, "'block'"},
      {{"--method", "l2", "--granularity", "kvgroup"}, "'kv-group'"},
      {{"--method", "l2", "--preset", "llm-pruner-30"}, "'llm-pruner-20'"},
      {{"--method", "l2", "--global", "--normalize", "means"}, "'mean'"},
      {{"--taylor", "param-first", "--calib", text}, "'param_first'"},
      {{"--method", "l2", "--compat", "llm_pruner"}, "'llm-pruner'"}};
  for (const auto& [more, near] : cases) {
    Arguments line = prune;
    line.insert(line.end(), more.begin(), more.end());
    expect_failed(run(line), 2, std::string("did you mean ") + near);
  }
  const Arguments recover{"recover", model, "--out", out, "--data", text};
  const std::vector<std::pair<Arguments, const char*>> trained = {
      {{"--lora-targets", "q_proj,vproj"}, "'v_proj'"},
      {{"--schedule", "cosin"}, "'cosine'"},
      {{"--optimizer", "adam"}, "'adamw'"},
      {{"--format", "txt"}, "'text'"},
      {{"--packing", "packed"}, "'pack'"},
      {{"--preset", "llmpruner"}, "'llm-pruner'"}};
  for (const auto& [more, near] : trained) {
    Arguments line = recover;
    line.insert(line.end(), more.begin(), more.end());
    expect_failed(run(line), 2, std::string("did you mean ") + near);
  }
  expect_failed(run({"eval", model, "--tasks", "helaswag", "--task-dir", dir.path()}), 2,
                "did you mean 'hellaswag'");
  expect_failed(run({"eval", model, "--ppl", text, "--protocol", "papers"}), 2,
                "did you mean 'paper'");
}

TEST_F(Rules, FilesOfBenchAndCompareAreLookedAtBeforeTheWork) {
  const std::string notes = file("notes.json", "mine");
  for (const Arguments& line :
       {Arguments{"bench", model, "--out"}, Arguments{"compare", model, "--out"}}) {
    SCOPED_TRACE(line[0]);
    const auto refuses = [&](const std::string& path, const std::string& part) {
      Arguments all = line;
      all.push_back(path);
      expect_failed(run(all), 2, part);
      all.emplace_back("--force");
      if (part != "--force") expect_failed(run(all), 2, part);
    };
    refuses(notes, "--force");
    refuses(dir / "none/x.json", "no such folder");
    refuses(model, "is a directory");
    refuses(model + "/config.json", "one of the files of");
  }
  EXPECT_EQ(read(notes), "mine");
  EXPECT_EQ(run({"compare", model, "--out", notes, "--force"}).exit_code, 0);
  EXPECT_NE(read(notes), "mine");
}

TEST_F(Rules, ARunThatRemovesNothingSaysSo) {
  const Arguments line{"prune", model, "--out", out, "--method", "l2", "--round-to", "512"};
  const Outcome done = prunus(line);
  expect_model(done, out);
  EXPECT_THAT(done.err, HasSubstr("nothing at all is removed"));
  EXPECT_THAT(done.err, HasSubstr("--round-to 512"));
  EXPECT_THAT(done.out, HasSubstr("none removed"));
  const auto names = json_of(out + "/run.json").at("untouched").get<std::vector<std::string>>();
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("layers.0.kv_group", "layers.0.ffn",
                                                     "layers.1.kv_group", "layers.1.ffn"));
}

TEST_F(Rules, CompatRefusesMixtures) {
  const std::string mixture = test::source_path("tests/model/golden/mixtral");
  for (const Arguments& more : {Arguments{}, Arguments{"--global"}}) {
    Arguments line{"prune", mixture, "--out", out, "--method", "l1", "--compat", "llm-pruner"};
    line.insert(line.end(), more.begin(), more.end());
    expect_failed(run(line), 2, "mixture of experts");
  }
}

TEST_F(Rules, APathThatNoRecordCanHoldIsRefusedAtOnce) {
  const std::string odd = dir / "model\xFF";
  fs::copy(model, odd);
  for (const Arguments& line :
       {Arguments{"inspect", odd, "--json"}, Arguments{"prune", odd, "--out", out},
        Arguments{"prune", model, "--out", out + "\xFF", "--method", "l2"}}) {
    expect_failed(prunus(line), 2, "is not UTF-8");
  }
}

TEST_F(Rules, HelpIsACommandToo) {
  EXPECT_EQ(prunus({"help"}).out, prunus({"--help"}).out);
  EXPECT_EQ(prunus({"help", "prune"}).out, prunus({"prune", "--help"}).out);
  expect_failed(prunus({"help", "prunes"}), 2, "did you mean 'prune'?");
}

TEST_F(Rules, WhatStandsIsNotOverwritten) {
  fs::create_directory(dir / "old");
  const std::string inside = file("old/diary.txt", "dear diary");
  const std::string single = file("single", "a file");
  for (const std::string& taken : {dir / "old", dir / "old/"}) {
    SCOPED_TRACE(taken);
    expect_failed(run({"prune", model, "--out", taken, "--method", "l2"}), 2, "--force");
  }
  for (const char* force : {"--quiet", "--force"}) {
    const Arguments line{"prune", model,       "--out", single, "--method",
                         "l2",    "--threads", "1",     force};
    expect_failed(prunus(line), 2, "is no directory");
  }
  EXPECT_EQ(prune({"--dry-run"}).exit_code, 0);
  const std::string plan = file("plan.json", read(out + "/plan.json"));
  fs::remove_all(out);
  expect_failed(run({"apply", model, "--plan", plan, "--out", dir / "old"}), 2, "--force");
  EXPECT_EQ(names_in(dir / "old"), std::vector<std::string>{"diary.txt"});
  EXPECT_EQ(read(inside), "dear diary");
  EXPECT_EQ(read(single), "a file");
}

TEST_F(Rules, ForceReplacesAnEarlierResultAndOnlyBySuccess) {
  const std::string old = dir / "old";
  expect_model(run({"prune", model, "--out", old, "--method", "l1", "--ratio", "0.5"}), old);
  const std::string before = read(old + "/model.safetensors");
  const auto forced = [&](const std::string& ratio) {
    return run({"prune", model, "--out", old, "--method", "l2", "--ratio", ratio, "--force"});
  };
  expect_failed(forced("0.99"), 2, "lower --ratio");
  EXPECT_EQ(read(old + "/model.safetensors"), before);
  expect_model(forced("0.25"), old);
  EXPECT_NE(read(old + "/model.safetensors"), before);
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"model", "old"}));
}

TEST_F(Rules, ForceDeletesNothingThatNoRunHasWritten) {
  const std::string old = dir / "old";
  expect_model(run({"prune", model, "--out", old, "--method", "l1"}), old);
  const std::string diary = file("old/diary.txt", "dear diary");
  const std::string text = file("text.txt", some_text(40));
  const std::string plan = file("plan.json", read(old + "/plan.json"));
  const std::vector<Arguments> lines = {
      {"prune", model, "--out", old, "--method", "l1", "--force"},
      {"apply", model, "--plan", plan, "--out", old, "--force"},
      {"merge", model, "--adapter", model, "--out", old, "--force"},
      {"recover", model, "--data", text, "--out", old, "--force"},
      {"train", "--config", model, "--data", text, "--out", old, "--force"},
      {"tokenizer", "--data", text, "--out", old, "--vocab-size", "300", "--force"}};
  for (const Arguments& line : lines) {
    SCOPED_TRACE(line[0]);
    expect_failed(run(line), 2, "diary.txt");
  }
  EXPECT_EQ(read(diary), "dear diary");
}

TEST_F(Rules, AnOutputNeitherIsNorHoldsNorLiesInAnInput) {
  const std::string before = read(model + "/model.safetensors");
  fs::create_directory(dir / "texts");
  const std::string text = file("texts/text.txt", some_text(40));
  for (const char* force : {"", "--force"}) {
    const auto with = [&](Arguments line) {
      if (*force != 0) line.emplace_back(force);
      return run(line);
    };
    const Arguments prune_l2 = {"prune", model, "--method", "l2", "--out"};
    for (const std::string& bad : {model, model + "/", model + "/out", dir.path()}) {
      Arguments line = prune_l2;
      line.push_back(bad);
      expect_failed(with(line), 2, "input of this run");
    }
    expect_failed(with({"prune", model, "--calib", text, "--out", dir / "texts"}), 2, "input");
    expect_failed(with({"recover", model, "--data", text, "--out", model}), 2, "input");
    expect_failed(with({"recover", model, "--data", text, "--out", dir / "texts"}), 2, "input");
    expect_failed(with({"recover", model, "--data", text, "--teacher", dir / "texts", "--out",
                        dir / "texts/out"}),
                  2, "input");
    expect_failed(with({"merge", model, "--adapter", dir / "texts", "--out", dir / "texts"}), 2,
                  "input");
    expect_failed(with({"train", "--config", model, "--data", text, "--out", model}), 2, "input");
    expect_failed(with({"tokenizer", "--data", text, "--out", dir / "texts"}), 2, "input");
    expect_failed(with({"apply", model, "--plan", text, "--out", dir / "texts"}), 2, "input");
  }
  EXPECT_EQ(read(model + "/model.safetensors"), before);
  EXPECT_EQ(names_in(dir / "texts"), std::vector<std::string>{"text.txt"});
}

TEST_F(Rules, ASecondRunOnTheSameOutputIsRefused) {
  Process first(long_run());
  ASSERT_TRUE(staging_appears());
  const Outcome second = run({"prune", model, "--out", out, "--method", "l1"});
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_THAT(second.err, HasSubstr("another run is writing it (process "));
  first.send(SIGKILL);
  first.wait();
}

TEST_F(Rules, ParentsOfTheOutputAreMadeAndGoAgainWithAFailure) {
  const Arguments line{"prune", model, "--out", dir / "a/b/c", "--method", "l2"};
  Arguments failing = line;
  failing.insert(failing.end(), {"--ratio", "0.99"});
  expect_failed(run(failing), 2, "lower --ratio");
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"model"});
  expect_model(run(line), dir / "a/b/c");
  EXPECT_EQ(names_in(dir / "a/b"), std::vector<std::string>{"c"});
}

TEST_F(Rules, AFullDiskIsAnErrorThatLeavesNothing) {
  const uint64_t bytes = fs::file_size(model + "/model.safetensors");
  expect_failed(prune({}, {.max_file_bytes = 8192}), 1, "model.safetensors");
  put(model + "/LICENSE", std::string(2 * bytes, 'x'));  // travels with the model
  expect_failed(prune({}, {.max_file_bytes = bytes}), 1, "LICENSE");
  expect_failed(prune({"--dry-run"}, {.max_file_bytes = 256}), 1, "plan.json");
}

TEST_F(Rules, AFullDiskLeavesTheOldResultWithForce) {
  expect_model(run({"prune", model, "--out", dir / "old", "--method", "l1"}), dir / "old");
  const std::string before = read(dir / "old/run.json");
  const Outcome full = prunus({"prune", model, "--out", dir / "old", "--method", "l2", "--force",
                               "--quiet", "--threads", "1"},
                              {.max_file_bytes = 8192});
  expect_failed(full, 1, "model.safetensors");
  EXPECT_EQ(read(dir / "old/run.json"), before);
}

TEST_F(Rules, AResultThatCannotBePrintedIsAnError) {
  const std::string text = file("text.txt", some_text(40));
  for (const char* form : {"--json", "--quiet"}) {
    SCOPED_TRACE(form);
    const Outcome full =
        prunus({"eval", model, "--ppl", text, "--threads", "1", form}, {.out_path = "/dev/full"});
    EXPECT_EQ(full.exit_code, 1);
    EXPECT_THAT(full.err, HasSubstr("stdout"));
  }
}

TEST_F(Rules, AnOutputThatCannotBeMadeIsAnError) {
  const std::string single = file("single", "a file");
  expect_failed(run({"prune", model, "--out", single + "/out", "--method", "l2"}), 1, "single");
}

TEST_F(Rules, AnInterruptedRunLeavesOnlyWhatResumingNeeds) {
  const Arguments line = long_run();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    SCOPED_TRACE(signal);
    Process process(line);
    ASSERT_TRUE(staging_appears());
    process.send(signal);
    const Outcome end = process.wait();
    EXPECT_EQ(end.exit_code, 130);
    const bool state = fs::exists(out + ".work");
    EXPECT_THAT(end.err, HasSubstr("interrupted: stopped before the end; "));
    EXPECT_THAT(end.err, HasSubstr(state ? "state is kept in " + out + ".work" : "nothing was"));
    for (const std::string& name : names_in(dir.path())) {
      EXPECT_TRUE(!name.starts_with("out") || name == "out.work") << name << " was left behind";
    }
    fs::remove_all(out + ".work");
  }
}

}  // namespace
}  // namespace prunus::test_cli::rules_test
