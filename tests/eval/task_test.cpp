// What each task makes of a record. Texts are those of lm-evaluation-harness: some written out
// here, the others in golden/task_prompts.json.
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/eval/task_request.h"

#include "eval/reference_scorer.h"
#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"
#include "text/fixture.h"

namespace prunus::test::task_test {
namespace {

TaskItem item_of(const char* task, const Json& record) {
  return find_task(task).item(record, "f.jsonl: line 3");
}

void expect_corrupt(const char* task, const Json& record, const std::string& part) {
  expect_error(ErrorKind::Corrupt, "f.jsonl: line 3: " + part, [&] { item_of(task, record); });
}

Json without(Json record, const char* field) {
  record.erase(field);
  return record;
}

const Json kBoolq = {{"passage", "P."}, {"question", "is it"}, {"label", 1}};
const Json kHellaswag = {{"activity_label", " Run"},
                         {"ctx_a", "A [x] man. [title] Go  on"},
                         {"ctx_b", "the MAN"},
                         {"endings", {" runs [step] off. ", "[a\nb] sits"}},
                         {"label", "1"}};
const Json kWinogrande = {{"sentence", "Ann saw Eve because _ was there. "},
                          {"option1", "Ann"},
                          {"option2", "Eve"},
                          {"answer", "2"}};

TEST(Tasks, AsksBoolqWithTheQuestionMarkThatTheFileLeavesOut) {
  const TaskItem item = item_of("boolq", kBoolq);
  ASSERT_EQ(item.choices.size(), 2U);
  EXPECT_EQ(item.choices[0].context, "P.\nQuestion: is it?\nAnswer:");
  EXPECT_EQ(item.choices[0].continuation, " no");
  EXPECT_EQ(item.choices[1].continuation, " yes");
  EXPECT_EQ(item.choices[1].plain, "yes");
  EXPECT_EQ(item.label, 1);
}

TEST(Tasks, CleansHellaswagTextOfItsMarks) {
  const TaskItem item = item_of("hellaswag", kHellaswag);
  EXPECT_EQ(item.choices[0].context, "Run: A man.. Go on The man");
  EXPECT_EQ(item.choices[0].plain, "runs off.");
  EXPECT_EQ(item.choices[1].plain, "[a\nb] sits");  // a bracket does not close on the next line
  EXPECT_EQ(item.label, 1);
}

TEST(Tasks, PutsWinograndesOptionIntoTheContext) {
  const TaskItem item = item_of("winogrande", kWinogrande);
  ASSERT_EQ(item.choices.size(), 2U);
  EXPECT_EQ(item.choices[0].context, "Ann saw Eve because Ann");
  EXPECT_EQ(item.choices[1].context, "Ann saw Eve because Eve");
  EXPECT_EQ(item.choices[0].continuation, " was there.");
  EXPECT_EQ(item.choices[1].continuation, " was there.");
  EXPECT_EQ(item.label, 1);
}

TEST(Tasks, TakesAsManyArcChoicesAsThereAre) {
  const Json choices = {{"text", {"a", "b", "c", "d", "e"}}, {"label", {"1", "2", "3", "4", "5"}}};
  const TaskItem item =
      item_of("arc_easy", {{"question", "Q"}, {"choices", choices}, {"answerKey", "5"}});
  EXPECT_EQ(item.choices.size(), 5U);
  EXPECT_EQ(item.choices[4].context, "Question: Q\nAnswer:");
  EXPECT_EQ(item.label, 4);
}

TEST(Tasks, RefusesRecordsWithoutAField) {
  expect_corrupt("boolq", without(kBoolq, "passage"), "has no \"passage\"");
  expect_corrupt("boolq", without(kBoolq, "label"), "has no \"label\"");
  expect_corrupt("hellaswag", without(kHellaswag, "ctx_b"), "has no \"ctx_b\"");
  expect_corrupt("winogrande", without(kWinogrande, "option2"), "has no \"option2\"");
  for (const Task* task : tasks::all()) {
    expect_error(ErrorKind::Corrupt, "f.jsonl: line 3: has no \"",
                 [&] { task->item(Json::object(), "f.jsonl: line 3"); });
  }
}

TEST(Tasks, RefusesWhatCannotBeScored) {
  Json record = kHellaswag;
  record["endings"][0] = " [only a mark] ";
  expect_corrupt("hellaswag", record, "choice 0 (from 0) is empty");
  record = kWinogrande;
  record["sentence"] = "No blank";
  expect_corrupt("winogrande", record, "\"sentence\" has no '_'");
  record["sentence"] = "It was _ ";
  expect_corrupt("winogrande", record, "nothing follows the '_'");
  record = kWinogrande;
  record["answer"] = "3";
  expect_corrupt("winogrande", record, "the label stands for choice 2");
  expect_corrupt("lambada_openai", {{"text", "ends with a space "}}, "choice 0 (from 0) is empty");
  const Json copa = {
      {"premise", "P."}, {"question", "why"}, {"choice1", "a"}, {"choice2", "b"}, {"label", 0}};
  expect_corrupt("copa", copa, "\"question\" is 'why'");
}

TEST(Tasks, AreNamedOnceAndHaveAFileEach) {
  std::set<std::string_view> names;
  std::set<std::string_view> files;
  int table = 0;
  for (const Task* task : tasks::all()) {
    names.insert(task->name);
    files.insert(task->file);
    table += task->in_llm_pruner_table;
    // The table cannot show a figure that the task does not have.
    EXPECT_TRUE(task->llm_pruner == Metric::Acc || task->has_acc_norm) << task->name;
  }
  EXPECT_EQ(names.size(), tasks::all().size());
  EXPECT_EQ(files.size(), tasks::all().size());
  EXPECT_EQ(table, 7);
}

// Contexts and continuations as lm-evaluation-harness has them. `golden` is one task's list.
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

TEST(Tasks, WriteThePromptsOfLmEvalForMadeUpRecordsWithAndWithoutExamples) {
  const Json golden = read_json(source_path("tests/eval/golden/task_prompts.json"));
  const text::TestDirectory tokenizer_dir;
  const auto tokenizer = tokenizer_dir.load(text::llama2_json());
  int checked = 0;
  for (const auto& [name, entry] : golden["tasks"].items()) {
    if (!entry.contains("records")) continue;
    SCOPED_TRACE(name);
    const Task& task = find_task(name == "siqa" ? "social_iqa" : name);
    const TempDir dir;
    write_records(dir / std::string(task.file), entry["records"]);
    TaskRunOptions options;
    options.dir = dir.path();
    options.few_shot = 0;
    expect_prompts(prepare_task(task, *tokenizer, options), entry["zero_shot"]);
    ++checked;
    if (!entry.contains("few_shot")) continue;
    write_records(dir / std::string(task.few_shot_file), entry["records"]);
    options.few_shot = entry["few_shot"].get<int64_t>();
    options.seed = golden["few_shot_seed"].get<uint64_t>();
    expect_prompts(prepare_task(task, *tokenizer, options), entry["few_shot_requests"]);
  }
  EXPECT_EQ(checked, 5);
}

}  // namespace
}  // namespace prunus::test::task_test
