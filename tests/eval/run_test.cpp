// Evaluation and measurement of speed as calls of the library.
#include "prunus/eval/run.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <malloc.h>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/run_schema.h"
#include "prunus/eval/bench_run.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::run_test {
namespace {

class EvalRun : public ::testing::Test {
 protected:
  EvalRun() {
    const TinySizes sizes{.vocab = 259};
    save_model(tiny_model(sizes), tiny_config(sizes), model);
    std::filesystem::create_directory(dir / "tasks");
    write("tasks/piqa.jsonl", R"({"goal": "Eat.", "sol1": "Bite", "sol2": "Sit", "label": 0})");
    write("text.txt", std::string(200, 'a') + "\n");
  }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(dir / name) << content << '\n';
  }
  EvalJob tasks() const {
    EvalJob job{.model_dir = model};
    job.tasks.names = {"piqa"};
    job.tasks.dir = dir / "tasks";
    return job;
  }

  TempDir dir;
  std::string model = dir / "model";
};

TEST_F(EvalRun, GivesWhatScoringTheTextGives) {
  const Json record = run_eval({.model_dir = model, .texts = {dir / "text.txt"}});
  EXPECT_NO_THROW(check_run(record, "record"));
  const auto tokenizer = load_tokenizer(model);
  const Model opened = open_model(model);
  const EvalText text = make_eval_text(parse_text_request(dir / "text.txt"), {}, *tokenizer,
                                       opened.config().max_position_embeddings);
  EXPECT_DOUBLE_EQ(record.at("results")[0].at("nll_sum").get<double>(),
                   score_text({opened, at::kCPU}, text).nll_sum);
  EXPECT_EQ(record.at("options").at("ppl"), Json{dir / "text.txt"});
  EXPECT_EQ(record.at("options").at("protocol"), "paper");
}

TEST_F(EvalRun, RefusesBeforeTheWorkWhatMakesNoSense) {
  expect_error(ErrorKind::InvalidArgument, "nothing to measure",
               [&] { run_eval({.model_dir = model}); });
  expect_error(ErrorKind::InvalidArgument, "go together",
               [&] { check_job({.model_dir = model, .dense_dir = model}); });
  expect_error(ErrorKind::NotFound, "absent",
               [&] { check_job({.model_dir = model, .texts = {dir / "absent"}}); });
}

TEST_F(EvalRun, NamesEveryPathThatItReads) {
  EvalJob job = tasks();
  job.texts = {"wikitext2@8=" + (dir / "text.txt")};
  job.relative_to = dir / "dense.json";
  EXPECT_EQ(inputs_of(job),
            (std::vector<std::string>{model, dir / "dense.json", dir / "tasks", dir / "text.txt"}));
}

TEST_F(EvalRun, LastWordsSayWhereScoresAreKept) {
  EvalJob job = tasks();
  job.tasks.score.journal = dir / "scores";
  job.kl_text = dir / "text.txt";
  job.dense_dir = dir / "dense";  // another vocabulary, which is found behind the tasks
  const TinySizes other{.vocab = 260};
  save_model(tiny_model(other), tiny_config(other), job.dense_dir);
  expect_error(ErrorKind::InvalidArgument,
               "; the state is kept in " + (dir / "scores") + ": the same command with --resume",
               [&] { run_eval(job); });
  EXPECT_TRUE(std::filesystem::exists(dir / "scores"));
  job.dense_dir = job.kl_text = "";
  EXPECT_EQ(run_eval(job).at("tasks").at("piqa").at("items"), 1);
}

// Blocks of 4 MiB that malloc maps by themselves: its threshold shows in their number.
size_t mapped_blocks() {
  void* block = std::malloc(size_t{4} << 20);
  const size_t blocks = ::mallinfo2().hblks;
  std::free(block);
  return blocks - ::mallinfo2().hblks;
}

TEST_F(EvalRun, ChangesNoSettingOfTheProcess) {
  return_large_blocks();
  const size_t before = mapped_blocks();
  run_eval(tasks());
  EXPECT_EQ(mapped_blocks(), before);
}

TEST_F(EvalRun, SaysWhenTasksBeginAndEndHoweverTheyEnd) {
  std::vector<bool> said;
  EvalJob job = tasks();
  job.around_tasks = [&](bool begin) { said.push_back(begin); };
  run_eval(job);
  EXPECT_EQ(said, (std::vector<bool>{true, false}));
  write("tasks/piqa.jsonl", "{}");
  EXPECT_THROW(run_eval(job), Error);
  EXPECT_EQ(said, (std::vector<bool>{true, false, true, false}));
  run_eval({.model_dir = model, .texts = {dir / "text.txt"}, .around_tasks = job.around_tasks});
  EXPECT_EQ(said.size(), 4U);
}

TEST_F(EvalRun, BenchHoldsEveryCaseOfBothModels) {
  const Json record = run_bench({.model_dir = model,
                                 .other_dir = model,
                                 .prompt_tokens = {2, 3},
                                 .batches = {1},
                                 .new_tokens = 2,
                                 .repeat = 1,
                                 .warmup = 0});
  EXPECT_NO_THROW(check_run(record, "record"));
  ASSERT_EQ(record.at("models").size(), 2U);
  EXPECT_EQ(record.at("models")[1].at("cases")[1].at("prompt_tokens"), 3);
  EXPECT_EQ(record.at("ratios").size(), 2U);
  EXPECT_EQ(record.at("options").at("dtype"), "auto");
  expect_error(ErrorKind::InvalidArgument, "context",
               [&] { run_bench({.model_dir = model, .prompt_tokens = {1000}}); });
}

}  // namespace
}  // namespace prunus::test::run_test
