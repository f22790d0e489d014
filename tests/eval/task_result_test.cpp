// Figures from log-likelihoods, by hand.
#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/eval/task_request.h"

#include "support/expect_error.h"

namespace prunus::test::task_result_test {
namespace {

PreparedTask prepared(const char* task, std::vector<TaskItem> items) {
  PreparedTask result;
  result.task = &find_task(task);
  result.file_sha256 = "5ad";
  for (const TaskItem& item : items)
    result.requests.resize(result.requests.size() + item.choices.size());
  result.items = std::move(items);
  return result;
}

// Two choices of 2 and 4 characters (6 bytes).
TaskItem piqa_item(int64_t label) {
  return {.choices = {{"q", " no", "no"}, {"q", " été!", "été!"}}, .label = label};
}

TEST(TaskResult, CountsTheLikeliestChoiceAndTheLikeliestPerCharacter) {
  const PreparedTask task =
      prepared("piqa", {piqa_item(0), piqa_item(0), piqa_item(1), piqa_item(1)});
  // Per character: −1, −0.75 | −1, −1.25 | −1, −0.75 | −2, −0.5 (per byte 2 would win in all).
  const std::vector<ScoreResult> scored = {{-2, false}, {-3, false}, {-2, false}, {-5, false},
                                           {-2, false}, {-3, false}, {-4, false}, {-2, false}};
  const TaskResult result = collect(task, scored);
  EXPECT_EQ(result.name, "piqa");
  EXPECT_EQ(result.items, 4);
  EXPECT_DOUBLE_EQ(result.acc, 0.75);       // wrong: the third
  EXPECT_DOUBLE_EQ(result.acc_norm, 0.75);  // wrong: the first
  // x − p: three of 0.25 and one of −0.75: sample variance 0.75 / 3, over n = 4.
  EXPECT_DOUBLE_EQ(result.acc_stderr, 0.25);
  EXPECT_DOUBLE_EQ(result.acc_norm_stderr, 0.25);
  EXPECT_TRUE(result.has_acc_norm);
  const std::string samples = samples_text(task, scored);
  EXPECT_EQ(samples.substr(0, samples.find('\n')),
            R"({"task":"piqa","item":0,"label":0,"log_likelihood":[-2.0,-3.0],)"
            R"("greedy":[false,false],"acc":1,"acc_norm":0})");
}

TEST(TaskResult, TakesTheFirstOfEqualChoices) {
  const std::vector<ScoreResult> scored = {{-2, false}, {-2, false}};
  EXPECT_EQ(collect(prepared("boolq", {piqa_item(0)}), scored).acc, 1.0);
  EXPECT_EQ(collect(prepared("boolq", {piqa_item(1)}), scored).acc, 0.0);
}

TEST(TaskResult, HasNoStandardErrorForOneItem) {
  const std::vector<ScoreResult> scored = {{-1, false}, {-2, false}};
  EXPECT_EQ(collect(prepared("boolq", {piqa_item(0)}), scored).acc_stderr, 0.0);
}

TEST(TaskResult, CountsGreedyAnswersOfAClozeTaskAndItsPerplexity) {
  const TaskItem item{.choices = {{"the", " dog", "dog"}}};
  const std::vector<ScoreResult> scored = {
      {-std::log(2.0), true}, {-std::log(8.0), false}, {-std::log(4.0), true}};
  const TaskResult result = collect(prepared("lambada_openai", {item, item, item}), scored);
  EXPECT_DOUBLE_EQ(result.acc, 2.0 / 3);
  EXPECT_NEAR(result.perplexity, 4.0, 1e-12);  // cube root of 2 · 8 · 4
  const Json json = to_json({result});
  EXPECT_TRUE(json["lambada_openai"].contains("perplexity"));
  EXPECT_FALSE(json["lambada_openai"].contains("acc_norm"));
}

TaskResult result_of(const std::string& name, double acc, double acc_norm) {
  TaskResult result;
  result.name = name;
  result.items = 100;
  result.acc = acc;
  result.acc_norm = acc_norm;
  result.has_acc_norm = find_task(name).has_acc_norm;
  result.file_sha256 = "5ad";
  return result;
}

// LLM-Pruner's table: acc of BoolQ, PIQA, WinoGrande and ARC-easy, acc_norm of the other three.
std::vector<TaskResult> table(double acc, double acc_norm) {
  std::vector<TaskResult> results;
  for (const Task* task : tasks::all()) {
    if (task->in_llm_pruner_table) {
      results.push_back(result_of(std::string(task->name), acc, acc_norm));
    }
  }
  return results;
}

TEST(TaskJson, HasLlmPrunersTableWhereAllItsTasksAreThere) {
  const Json json = to_json(table(0.5, 0.25));
  const Json& figures = json["llm_pruner_table"];
  EXPECT_EQ(figures["boolq"], 0.5);
  EXPECT_EQ(figures["piqa"], 0.5);
  EXPECT_EQ(figures["winogrande"], 0.5);
  EXPECT_EQ(figures["arc_easy"], 0.5);
  EXPECT_EQ(figures["hellaswag"], 0.25);
  EXPECT_EQ(figures["arc_challenge"], 0.25);
  EXPECT_EQ(figures["openbookqa"], 0.25);
  EXPECT_DOUBLE_EQ(figures["mean"].get<double>(), 2.75 / 7);
  EXPECT_FALSE(json["boolq"].contains("acc_norm"));
  EXPECT_EQ(json["piqa"]["items"], 100);
  EXPECT_EQ(json["piqa"]["file_sha256"], "5ad");
}

TEST(TaskJson, LeavesTheTableOutWhereATaskIsMissing) {
  std::vector<TaskResult> six = table(0.5, 0.25);
  six.pop_back();
  EXPECT_FALSE(to_json(six).contains("llm_pruner_table"));
}

TEST(TaskJson, GivesEveryFigureAsAFractionOfTheUnprunedModels) {
  const Json relative = relative_to(to_json(table(0.4, 0.2)), to_json(table(0.5, 0.4)));
  EXPECT_DOUBLE_EQ(relative["piqa"]["acc"].get<double>(), 0.8);
  EXPECT_DOUBLE_EQ(relative["piqa"]["acc_norm"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(relative["llm_pruner_table"]["hellaswag"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(relative["llm_pruner_table"]["mean"].get<double>(), 2.2 / 3.2);
  EXPECT_FALSE(relative["piqa"].contains("items"));
  EXPECT_TRUE(relative_to(to_json({result_of("boolq", 0.4, 0)}),
                          to_json({result_of("boolq", 0, 0)}))["boolq"]["acc"]
                  .is_null());
}

TEST(TaskJson, RefusesToCompareWhatWasMeasuredDifferently) {
  const Json dense = to_json({result_of("piqa", 0.5, 0.5)});
  const auto refuse = [&](const TaskResult& other, const std::string& part) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { relative_to(to_json({other}), dense); });
  };
  TaskResult other = result_of("piqa", 0.5, 0.5);
  other.items = 99;
  refuse(other, "task piqa: items is 99 here and 100 in the unpruned");
  other = result_of("piqa", 0.5, 0.5);
  other.few_shot = 2;
  refuse(other, "task piqa: few_shot is 2 here and 0");
  other = result_of("piqa", 0.5, 0.5);
  other.file_sha256 = "bad";
  refuse(other, "task piqa: file_sha256");
  refuse(result_of("boolq", 0.5, 0), "task boolq stands in one of the two results only");
  expect_error(ErrorKind::InvalidArgument, "task piqa stands in one",
               [&] { relative_to(Json::object(), dense); });
  expect_error(ErrorKind::InvalidArgument, "an object of tasks",
               [&] { relative_to(dense, Json::array()); });
}

}  // namespace
}  // namespace prunus::test::task_result_test
