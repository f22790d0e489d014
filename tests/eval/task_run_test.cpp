// The whole way from files to figures, against scoring each request alone.
#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/eval/task_request.h"

#include "eval/reference_scorer.h"
#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::test::task_run_test {
namespace {

class RunTasks : public testing::Test {
 protected:
  RunTasks() {
    save_model(model_, tiny_config(sizes_), dir_ / "model");
    tokenizer_ = load_tokenizer(dir_ / "model");
    Json piqa = Json::array();
    Json lambada = Json::array();
    for (int i = 0; i < 12; ++i) {
      const std::string number = std::to_string(i * 37 % 101);
      piqa.push_back({{"goal", "Do " + number},
                      {"sol1", "add " + number},
                      {"sol2", "or not"},
                      {"label", i % 2}});
      lambada.push_back({{"text", "one, " + number + " and " + number}});
    }
    write_records(dir_ / "piqa.jsonl", piqa);
    write_records(dir_ / "lambada_openai.jsonl", lambada);
    options_.dir = dir_.path();
    options_.samples = &samples_;
  }

  TempDir dir_;
  TinySizes sizes_{.vocab = 260};
  Model model_ = tiny_model(sizes_);
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string samples_;
  TaskRunOptions options_;
};

TEST_F(RunTasks, GivesEveryTaskTheScoresOfItsOwnRequests) {
  options_.names = {"piqa", "lambada_openai"};
  const auto results = run_tasks(model_, *tokenizer_, at::kCPU, options_);
  ASSERT_EQ(results.size(), 2U);
  std::string samples;
  for (size_t i = 0; i < results.size(); ++i) {
    const PreparedTask prepared = prepare_task(find_task(options_.names[i]), *tokenizer_, options_);
    const auto scored = score_each_alone(model_, prepared.requests);
    const TaskResult expected = collect(prepared, scored);
    EXPECT_EQ(results[i].name, options_.names[i]);
    EXPECT_EQ(results[i].items, 12);
    EXPECT_EQ(results[i].acc, expected.acc);
    EXPECT_EQ(results[i].acc_norm, expected.acc_norm);
    EXPECT_NEAR(results[i].perplexity, expected.perplexity, 1e-4 * expected.perplexity);
    EXPECT_GT(results[i].seconds, 0);
    samples += samples_text(prepared, scored);
  }
  EXPECT_EQ(std::count(samples_.begin(), samples_.end(), '\n'), 24);
  const auto first = [](const std::string& lines) {
    const Json line = parse_json(lines.substr(0, lines.find('\n')), "samples");
    return line["log_likelihood"][1].get<double>();
  };
  EXPECT_NEAR(first(samples_), first(samples), 1e-4);
}

TEST_F(RunTasks, RunsTheTasksWhoseFilesAreThere) {
  options_.names = {"all"};
  options_.limit = 3;
  options_.samples = nullptr;
  const auto results = run_tasks(model_, *tokenizer_, at::kCPU, options_);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].name, "lambada_openai");
  EXPECT_EQ(results[1].name, "piqa");
  EXPECT_EQ(results[1].items, 3);
}

TEST_F(RunTasks, NamesTheFileThatIsMissing) {
  options_.names = {"boolq"};
  expect_error(ErrorKind::NotFound, "boolq.jsonl",
               [&] { run_tasks(model_, *tokenizer_, at::kCPU, options_); });
}

}  // namespace
}  // namespace prunus::test::task_run_test
