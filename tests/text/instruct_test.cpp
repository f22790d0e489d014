#include "prunus/text/instruct.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/json.h"

#include "fixture.h"

namespace prunus::instruct_test {
namespace {

using text::expect_error;
using text::TestDirectory;

constexpr const char* kWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd "
    "up.\n\n### Input:\n1 and 2\n\n### Response:\n";
constexpr const char* kWithoutInput =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\nAdd up.\n\n### Response:\n";

std::vector<InstructText> read(const std::string& content, const std::string& name = "a.json") {
  const TestDirectory dir;
  return instructions_of(read_text_file(dir.write(name, content)));
}

TEST(ReadInstructions, TakesACompletionForTheResponse) {
  const auto texts = read(R"([{"prompt": "Hi", "completion": "Ho"}])");
  EXPECT_EQ(texts.at(0).prompt, "Hi");
  EXPECT_EQ(texts.at(0).response, "Ho");
}

TEST(ReadInstructions, PutsTheAlpacaTemplateAroundAnInstructionAndItsInput) {
  const auto texts =
      read(R"([{"instruction": "Add up.", "input": "1 and 2", "output": "Three", "id": 7}])");
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].prompt, kWithInput);
  EXPECT_EQ(texts[0].response, "Three");
}

TEST(ReadInstructions, TakesAnEmptyNullOrAbsentInputForNone) {
  for (const char* input : {R"("input": "", )", R"("input": null, )", ""}) {
    const auto texts =
        read(std::string("{\"instruction\": \"Add up.\", ") + input + "\"output\": \"é\"}");
    ASSERT_EQ(texts.size(), 1u);
    EXPECT_EQ(texts[0].prompt, kWithoutInput);
    EXPECT_EQ(texts[0].response, "é");
  }
}

TEST(ReadInstructions, TakesPromptAndResponseAsTheyAre) {
  const auto texts = read(R"({"prompt": " Q:\n", "response": "A\u0000\n", "output": 1})");
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].prompt, " Q:\n");
  EXPECT_EQ(texts[0].response, std::string("A\0\n", 3));
}

TEST(ReadInstructions, KeepsTheOrderAndAnEmptyOutputInLinesAsInAnArray) {
  const std::string a = R"({"prompt": "a", "response": "1"})";
  const std::string b = R"({"prompt": "b", "response": ""})";
  for (const std::string& content :
       {a + "\n\n \r\n" + b + "\r\n", "\xEF\xBB\xBF" + a + "\n" + b, "[" + a + ",\n" + b + "]",
        " \n[" + a + "," + b + "]\n", "\xEF\xBB\xBF[" + a + "," + b + "]"}) {
    const auto texts = read(content);
    ASSERT_EQ(texts.size(), 2u) << content;
    EXPECT_EQ(texts[0].prompt + texts[0].response, "a1");
    EXPECT_EQ(texts[1].prompt + texts[1].response, "b");
  }
}

TEST(ReadInstructions, NameTheRecordOrLineAndTheFieldThatIsWrong) {
  const std::string good = R"({"instruction": "a", "output": "b"})";
  const std::vector<std::pair<std::string, std::string>> bad = {
      {R"({"instruction": "a"})", "has no \"output\""},
      {R"({"instruction": "a", "output": null})", "\"output\" is null"},
      {R"({"instruction": ["a"], "output": "b"})", "\"instruction\" is array"},
      {R"({"instruction": "a", "input": 3, "output": "b"})", "\"input\" is number"},
      {R"({"prompt": "a"})", "has no \"response\""},
      {R"({"prompt": "a", "response": {}})", "\"response\" is object"},
      {R"({"text": "a"})", "has no \"instruction\""},
      {R"("a")", "is string, expected an object"},
  };
  for (const auto& [record, part] : bad) {
    expect_error(ErrorKind::Corrupt, "record 2: " + part,
                 [&] { read("[" + good + "," + record + "]"); });
    expect_error(ErrorKind::Corrupt, "line 3: " + part, [&] { read(good + "\n\n" + record); });
  }
}

TEST(ReadInstructions, RefuseBrokenJsonZeroBytesAndInvalidUtf8) {
  const std::string good = R"({"instruction": "a", "output": "b"})";
  expect_error(ErrorKind::Corrupt, "not valid JSON", [&] { read("[" + good + ","); });
  expect_error(ErrorKind::Corrupt, "not valid JSON", [&] { read("[" + good + "] x"); });
  expect_error(ErrorKind::Corrupt, "line 2: column 2: not valid JSON", [&] { read(good + "\n{"); });
  expect_error(ErrorKind::Corrupt, "line 2: contains a zero byte",
               [&] { read(good + "\n{" + std::string(1, '\0') + "}"); });
  expect_error(ErrorKind::Corrupt, "not valid UTF-8 at byte 13",
               [&] { read("{\"prompt\": \"a\xFF\", \"response\": \"\"}"); });
}

TEST(ReadInstructions, RefuseAFileWithoutRecords) {
  for (const char* content : {" \n", "[]"}) {
    expect_error(ErrorKind::Corrupt, "holds no instruction record", [&] { read(content); });
  }
}

TEST(IsInstructRecord, WantsAnInstructionAndNoText) {
  const auto is = [](const char* record) { return is_instruct_record(parse_json(record, "here")); };
  EXPECT_TRUE(is("{\"instruction\": \"a\", \"output\": \"b\"}"));
  EXPECT_TRUE(is("{\"prompt\": \"a\"}"));
  EXPECT_TRUE(is("{\"instruction\": 1}"));
  EXPECT_FALSE(is("{\"text\": \"a\", \"instruction\": \"a\", \"output\": \"b\"}"));
  EXPECT_FALSE(is("{\"text\": \"a\"}"));
  EXPECT_FALSE(is("7"));
  EXPECT_FALSE(is("null"));
}

TEST(InstructionsOf, RefusesPlainText) {
  const TestDirectory dir;
  const TextFile file = read_text_file(dir.write("a.txt", "[Music] not JSON"));
  expect_error(ErrorKind::Corrupt, "is plain text", [&] { instructions_of(file); });
}

}  // namespace
}  // namespace prunus::instruct_test
