// The seven tasks of LLM-Pruner's table against lm-evaluation-harness on the same files.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/eval/task_request.h"

#include "eval/reference_scorer.h"
#include "support/paths.h"

namespace prunus::test::tasks_real_test {
namespace {

const std::string kGolden = source_path("tests/eval/golden/");

void expect_prompts(const PreparedTask& prepared, const Json& golden) {
  ASSERT_EQ(prepared.items.size(), golden.size());
  for (size_t i = 0; i < golden.size(); ++i) {
    const auto& choices = prepared.items[i].choices;
    ASSERT_EQ(choices.size(), golden[i].size());
    for (size_t c = 0; c < choices.size(); ++c) {
      EXPECT_EQ(choices[c].context, golden[i][c][0].get<std::string>());
      EXPECT_EQ(choices[c].continuation, golden[i][c][1].get<std::string>());
    }
  }
}

// The pool of the golden: the last `count` lines of the task's file, then its first.
void write_pool(const std::string& from, const std::string& to, size_t count) {
  const std::string content = read_file(from);
  size_t begin = content.size() - 1;  // the last line's end
  for (size_t i = 0; i < count; ++i) begin = content.rfind('\n', begin - 1);
  write_file(to, content.substr(begin + 1) + content.substr(0, content.find('\n') + 1));
}

TEST(RealTasks, WriteThePromptsOfLmEvalWithAndWithoutExamples) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const auto tokenizer = load_tokenizer(shared + "/models/stories260K");
  const Json golden = read_json(kGolden + "task_prompts.json");
  int checked = 0;
  for (const auto& [name, entry] : golden["tasks"].items()) {
    if (entry.contains("records")) continue;
    SCOPED_TRACE(name);
    const Task& task = find_task(name);
    const TempDir dir;
    const std::string file = shared + "/tasks/" + std::string(task.file);
    std::filesystem::create_symlink(file, dir / std::string(task.file));
    write_pool(file, dir / std::string(task.few_shot_file), golden["pool"].get<size_t>());
    TaskRunOptions options;
    options.dir = dir.path();
    options.limit = static_cast<int64_t>(entry["zero_shot"].size());
    options.few_shot = 0;
    options.seed = golden["few_shot_seed"].get<uint64_t>();
    expect_prompts(prepare_task(task, *tokenizer, options), entry["zero_shot"]);
    options.few_shot = entry["few_shot"].get<int64_t>();
    expect_prompts(prepare_task(task, *tokenizer, options), entry["few_shot_requests"]);
    ++checked;
  }
  EXPECT_EQ(checked, 7);
}

TEST(RealTasks, TurnEveryRecordOfTheRealFilesIntoAnItem) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::pair<const char*, size_t> sizes[] = {
      {"boolq", 3270},    {"piqa", 1838},          {"hellaswag", 10042}, {"winogrande", 1267},
      {"arc_easy", 2376}, {"arc_challenge", 1172}, {"openbookqa", 500}};
  for (const auto& [name, size] : sizes) {
    const Task& task = find_task(name);
    const std::string content = read_file(shared + "/tasks/" + std::string(task.file));
    size_t items = 0;
    for (size_t at = 0; at < content.size(); at = content.find('\n', at) + 1) {
      const std::string line = content.substr(at, content.find('\n', at) - at);
      const TaskItem item = task.item(parse_json(line, name), name);
      EXPECT_GE(item.choices.size(), 2U);
      ++items;
    }
    EXPECT_EQ(items, size) << name;
  }
}

class RealTaskGolden : public testing::TestWithParam<const char*> {};

TEST_P(RealTaskGolden, GivesTheLogLikelihoodsAndFiguresOfLmEval) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::string name = GetParam();
  const bool random = name == "random_llama";
  const Model model = open_model(random ? kGolden + name : shared + "/models/" + name);
  const auto tokenizer = load_tokenizer(shared + "/models/stories260K");
  const Json golden = read_json(kGolden + "tasks_" + name + ".json");
  TaskRunOptions options;
  options.names = {"llm-pruner-table"};
  options.dir = shared + "/tasks";
  options.limit = golden["items"].get<int64_t>();
  std::string samples;
  options.samples = &samples;
  const auto results = run_tasks(model, *tokenizer, at::kCPU, options);
  ASSERT_EQ(results.size(), 7U);
  double worst = 0;
  size_t scores = 0;
  for (size_t at = 0; at < samples.size(); at = samples.find('\n', at) + 1) {
    const Json line = parse_json(samples.substr(at, samples.find('\n', at) - at), "samples");
    const auto item = line["item"].get<size_t>();
    const Json& expected = golden["tasks"][line["task"].get<std::string>()]["log_likelihood"][item];
    ASSERT_EQ(line["log_likelihood"].size(), expected.size());
    for (size_t c = 0; c < expected.size(); ++c, ++scores) {
      const double error =
          std::abs(line["log_likelihood"][c].get<double>() - expected[c].get<double>());
      EXPECT_LT(error, 1e-3) << line["task"] << " item " << item << " choice " << c;
      worst = std::max(worst, error);
    }
  }
  for (const TaskResult& result : results) {
    const Json& expected = golden["tasks"][result.name];
    EXPECT_NEAR(result.acc, expected["acc"].get<double>(), 1e-12) << result.name;
    EXPECT_NEAR(result.acc_stderr, expected["acc_stderr"].get<double>(), 1e-9) << result.name;
    ASSERT_EQ(result.has_acc_norm, expected.contains("acc_norm")) << result.name;
    if (!result.has_acc_norm) continue;
    EXPECT_NEAR(result.acc_norm, expected["acc_norm"].get<double>(), 1e-12) << result.name;
    EXPECT_NEAR(result.acc_norm_stderr, expected["acc_norm_stderr"].get<double>(), 1e-9);
  }
  std::printf("%s: %zu log-likelihoods, worst off by %.1e\n", name.c_str(), scores, worst);
}

INSTANTIATE_TEST_SUITE_P(Models, RealTaskGolden, testing::Values("stories260K", "random_llama"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace prunus::test::tasks_real_test
