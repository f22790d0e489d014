// From text to ids, and from files to requests. Ids are worked out by hand on the vocabularies of
// text/fixture.h.
#include "prunus/eval/task_request.h"

#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"

#include "eval/reference_scorer.h"
#include "support/expect_error.h"
#include "support/paths.h"
#include "text/fixture.h"

namespace prunus::test::task_request_test {
namespace {

using Ids = std::vector<int64_t>;

// Llama 2 in small: <s> = 1, ▁ = 259, a = 260, b = 261, ▁a = 262, ab = 263; texts get a ▁ in front
// and BOS before that.
class LlamaRequest : public testing::Test {
 protected:
  ScoreRequest request(const std::string& context, const std::string& continuation) const {
    return make_request(*tokenizer_, context, continuation, "f: line 1");
  }

  text::TestDirectory dir_;
  std::unique_ptr<Tokenizer> tokenizer_ = dir_.load(text::llama2_json());
};

TEST_F(LlamaRequest, ContinuesTheContextsIds) {
  const ScoreRequest made = request("a", " b");
  EXPECT_EQ(made.context, (Ids{1, 262}));
  EXPECT_EQ(made.continuation, (Ids{259, 261}));
}

TEST_F(LlamaRequest, MovesWhiteSpaceFromTheContextsEndToTheContinuation) {
  const ScoreRequest made = request("a ", "b");
  EXPECT_EQ(made.context, (Ids{1, 262}));
  EXPECT_EQ(made.continuation, (Ids{259, 261}));
  EXPECT_EQ(request("a\n", "b").continuation, (Ids{3 + '\n', 261}));
}

TEST_F(LlamaRequest, CutsTheWholeTextWhereTheContextAloneWouldEnd) {
  // ▁ab is ▁ ab, not ▁a b: two ids like <s> ▁a, so that ab is what is scored.
  const ScoreRequest made = request("a", "b");
  EXPECT_EQ(made.context, (Ids{1, 262}));
  EXPECT_EQ(made.continuation, (Ids{263}));
}

TEST_F(LlamaRequest, PutsBosInTheEmptyContextsPlace) {
  const ScoreRequest made = request("", "a");
  EXPECT_EQ(made.context, (Ids{1}));
  EXPECT_EQ(made.continuation, (Ids{262}));
}

TEST_F(LlamaRequest, DoesNotDoubleABosThatTheTextHas) {
  EXPECT_EQ(request("", "<s>a").continuation, request("<s>", "a").continuation);
  EXPECT_EQ(request("<s>", "a").context, (Ids{1}));
  EXPECT_EQ(request("", "<s>a").context, (Ids{1}));
}

TEST_F(LlamaRequest, RefusesAContinuationWithoutAnyId) {
  expect_error(ErrorKind::Corrupt, "f: line 1: the continuation '' adds no token",
               [&] { request("a", ""); });
}

TEST(ByteLevelRequest, NeedsSomethingForAnEmptyContextToBe) {
  const text::TestDirectory dir;
  const auto tokenizer = dir.load(text::byte_level_json());
  EXPECT_EQ(make_request(*tokenizer, "a", " a", "f").context, (Ids{0}));
  EXPECT_EQ(make_request(*tokenizer, "a", " a", "f").continuation, (Ids{7}));
  for (const char* context : {"", "  "}) {
    expect_error(ErrorKind::Unsupported, "f: the context is empty and the tokenizer has neither",
                 [&] { make_request(*tokenizer, context, "a", "f"); });
  }
}

class PrepareTask : public testing::Test {
 protected:
  PrepareTask() { options_.dir = dir_.path(); }
  void write(const char* file, const std::string& content) { write_file(dir_ / file, content); }
  PreparedTask prepare(const char* task) const {
    return prepare_task(find_task(task), *tokenizer_, options_);
  }

  TempDir dir_;
  text::TestDirectory tokenizer_dir_;
  std::unique_ptr<Tokenizer> tokenizer_ = tokenizer_dir_.load(text::llama2_json());
  TaskRunOptions options_;
};

std::string piqa_line(const std::string& goal) {
  return R"({"goal": ")" + goal + R"(", "sol1": "b", "sol2": "a", "label": 1})" + "\n";
}

TEST_F(PrepareTask, ReadsTheFirstRecordsOnlyWhereALimitIsGiven) {
  write("piqa.jsonl", piqa_line("a") + "\n" + piqa_line("b") + "no JSON at all\n");
  options_.limit = 2;
  const PreparedTask prepared = prepare("piqa");
  ASSERT_EQ(prepared.items.size(), 2U);
  EXPECT_EQ(prepared.items[1].choices[0].context, "Question: b\nAnswer:");
  EXPECT_EQ(prepared.requests.size(), 4U);
  EXPECT_EQ(prepared.file_sha256, sha256_file(dir_ / "piqa.jsonl"));
  options_.limit = 0;
  expect_error(ErrorKind::Corrupt, "piqa.jsonl: line 4", [&] { prepare("piqa"); });
}

TEST_F(PrepareTask, NamesFileAndLineOfABrokenRecord) {
  write("piqa.jsonl", piqa_line("a") + R"({"goal": "b", "sol2": "a", "label": 0})");
  expect_error(ErrorKind::Corrupt, "piqa.jsonl: line 2: has no \"sol1\"", [&] { prepare("piqa"); });
  write("piqa.jsonl", "[1]\n");
  expect_error(ErrorKind::Corrupt, "piqa.jsonl: line 1: is array", [&] { prepare("piqa"); });
  write("piqa.jsonl", "\n");
  expect_error(ErrorKind::Corrupt, "piqa.jsonl: holds no record", [&] { prepare("piqa"); });
  expect_error(ErrorKind::NotFound, "boolq.jsonl", [&] { prepare("boolq"); });
}

TEST_F(PrepareTask, RefusesNumbersThatMakeNoSense) {
  write("piqa.jsonl", piqa_line("a"));
  write("lambada_openai.jsonl", "{\"text\": \"a b\"}\n");
  options_.few_shot = -1;
  expect_error(ErrorKind::InvalidArgument, "few-shot examples: got -1", [&] { prepare("piqa"); });
  options_.few_shot = 1;
  expect_error(ErrorKind::InvalidArgument, "task lambada_openai takes no few-shot examples",
               [&] { prepare("lambada_openai"); });
  expect_error(ErrorKind::NotFound, "piqa.train.jsonl", [&] { prepare("piqa"); });
  options_.few_shot = 0;
  options_.limit = -1;
  expect_error(ErrorKind::InvalidArgument, "limit of items: got -1", [&] { prepare("piqa"); });
}

TEST_F(PrepareTask, NeverShowsAnItemItsOwnAnswerAndDrawsAnewForEveryItem) {
  std::string lines;
  for (char goal = 'A'; goal <= 'J'; ++goal) lines += piqa_line(std::string(1, goal));
  write("piqa.jsonl", lines);
  write("piqa.train.jsonl", lines);
  options_.few_shot = 8;
  const PreparedTask prepared = prepare("piqa");
  std::set<std::string> orders;
  for (const TaskItem& item : prepared.items) {
    const std::string& context = item.choices[0].context;
    const std::string question = context.substr(context.rfind("Question: "));
    EXPECT_EQ(context.find(question), context.rfind(question));
    orders.insert(context.substr(0, context.rfind("Question: ")));
  }
  EXPECT_EQ(orders.size(), prepared.items.size());
  options_.seed = 1;
  EXPECT_NE(prepare("piqa").items[0].choices[0].context, prepared.items[0].choices[0].context);
}

TEST_F(PrepareTask, DrawsAgainWhereTheItemStandsInThePoolTwice) {
  write("piqa.jsonl", piqa_line("A"));
  write("piqa.train.jsonl", piqa_line("A") + piqa_line("A") + piqa_line("B"));
  options_.few_shot = 1;
  for (options_.seed = 0; options_.seed < 8; ++options_.seed) {
    EXPECT_EQ(prepare("piqa").items[0].choices[0].context,
              "Question: B\nAnswer: a\n\nQuestion: A\nAnswer:");
  }
  options_.few_shot = 3;
  expect_error(ErrorKind::InvalidArgument,
               "piqa.train.jsonl: has 3 examples, but 4 are needed for 3 few-shot examples",
               [&] { prepare("piqa"); });
}

TEST_F(PrepareTask, GivesMmluTheFirstExamplesOfTheItemsSubject) {
  const auto line = [](const std::string& question, const std::string& subject) {
    return R"({"question": ")" + question + R"(", "subject": ")" + subject +
           R"(", "choices": ["a", "b", "c", "d"], "answer": 0})" + "\n";
  };
  write("mmlu.jsonl", line("q", "world_history"));
  write("mmlu.dev.jsonl", line("x", "law") + line("y", "world_history") + line("z", "law"));
  options_.few_shot = 1;
  const std::string choices = "\nA. a\nB. b\nC. c\nD. d\nAnswer:";
  EXPECT_EQ(prepare("mmlu").items[0].choices[0].context,
            "The following are multiple choice questions (with answers) about world history.\n\ny" +
                choices + " A\n\nq" + choices);
  options_.few_shot.reset();  // five by default
  expect_error(ErrorKind::InvalidArgument, "has 1 examples of subject 'world_history', but 5",
               [&] { prepare("mmlu"); });
}

TEST(ChooseTasks, KnowsNamesTheTableAndEveryFileThatIsThere) {
  const TempDir dir;
  write_file(dir / "piqa.jsonl", "x");
  write_file(dir / "copa.jsonl", "x");
  const auto names = [&](const std::vector<std::string>& given) {
    std::vector<std::string> found;
    for (const Task* task : choose_tasks(given, dir.path())) found.emplace_back(task->name);
    return found;
  };
  EXPECT_EQ(names({"all"}), (std::vector<std::string>{"copa", "piqa"}));
  EXPECT_EQ(names({"piqa", "boolq", "piqa"}), (std::vector<std::string>{"piqa", "boolq"}));
  EXPECT_EQ(names({"llm-pruner-table"}),
            (std::vector<std::string>{"arc_challenge", "arc_easy", "boolq", "hellaswag",
                                      "openbookqa", "piqa", "winogrande"}));
  expect_error(ErrorKind::InvalidArgument, "--tasks 'pica' is not known; known: arc_challenge, ",
               [&] { names({"pica"}); });
  expect_error(ErrorKind::InvalidArgument, "no task is named", [&] { names({}); });
  const TempDir empty;
  expect_error(ErrorKind::NotFound, "holds no task's file",
               [&] { choose_tasks({"all"}, empty.path()); });
}

}  // namespace
}  // namespace prunus::test::task_request_test
