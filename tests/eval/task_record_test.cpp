// Python's string functions and the fields of records, by hand.
#include "prunus/eval/task_record.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"

namespace prunus::test::task_record_test {
namespace {

TEST(TaskRecord, CapitalisesAsPythonDoes) {
  EXPECT_EQ(capitalise("the LADY Is"), "The lady is");
  EXPECT_EQ(capitalise("éCOLE ÉTÉ"), "École été");
  EXPECT_EQ(capitalise("3 MEN"), "3 men");
  EXPECT_EQ(capitalise("ǆ"), "ǅ");  // title case, not upper case
  EXPECT_EQ(capitalise(""), "");
}

TEST(TaskRecord, LowersTheFirstCharacterOnly) {
  EXPECT_EQ(lower_first("It WAS"), "it WAS");
  EXPECT_EQ(lower_first("Éric"), "éric");
  EXPECT_EQ(lower_first(""), "");
}

TEST(TaskRecord, StripsWhatPythonCallsSpace) {
  EXPECT_EQ(strip(" \t\n a b \r\n"), "a b");
  EXPECT_EQ(strip("\u00A0\u3000x\x1C\x1F"), "x");
  EXPECT_EQ(strip("\u200Bx"), "\u200Bx");  // a zero-width space is none
  EXPECT_EQ(strip(" \n "), "");
  EXPECT_EQ(trailing_space_bytes("a \u3000"), 4U);
  EXPECT_EQ(trailing_space_bytes(" a"), 0U);
}

TEST(TaskRecord, ReplacesWithoutLookingAtWhatItWrote) {
  EXPECT_EQ(replace_all("a    b", "  ", " "), "a  b");
  EXPECT_EQ(replace_all("aXbX", "X", "XX"), "aXXbXX");
}

TEST(TaskRecord, CountsCodePointsAndNotBytes) {
  EXPECT_EQ(characters("année"), 5);
  EXPECT_EQ(characters("日本"), 2);
  EXPECT_EQ(characters(""), 0);
}

TEST(TaskRecord, TakesNumbersAlsoAsDigits) {
  EXPECT_EQ(integer_field({{"label", 3}}, "label", "x"), 3);
  EXPECT_EQ(integer_field({{"label", "2"}}, "label", "x"), 2);
  for (const Json& wrong : {Json("2a"), Json(""), Json(1.0), Json(true), Json(nullptr)}) {
    expect_error(ErrorKind::Corrupt, "f.jsonl: line 7: \"label\" is ", [&] {
      integer_field({{"label", wrong}}, "label", "f.jsonl: line 7");
    });
  }
}

TEST(TaskRecord, NamesTheLineOfAFieldThatIsMissingOrOfAnotherType) {
  expect_error(ErrorKind::Corrupt, "f: line 1: has no \"goal\"",
               [] { text_field(Json::object(), "goal", "f: line 1"); });
  expect_error(ErrorKind::Corrupt, "f: line 1: \"goal\" is number, expected a string", [] {
    text_field({{"goal", 1}}, "goal", "f: line 1");
  });
  expect_error(ErrorKind::Corrupt, "\"endings\" is string, expected a list", [] {
    text_list({{"endings", "x"}}, "endings", "f: line 1");
  });
  expect_error(ErrorKind::Corrupt, "\"endings\" holds number, expected strings", [] {
    text_list({{"endings", {"a", 1}}}, "endings", "f: line 1");
  });
  expect_error(ErrorKind::Corrupt, "\"choices\" has 2 entries, expected 4", [] {
    text_list({{"choices", {"a", "b"}}}, "choices", "f: line 1", 4);
  });
}

TEST(TaskRecord, FindsTheAnswerAmongTheLabels) {
  const Json choices = {{"text", {"x", "y", "z"}}, {"label", {"1", "2", "3"}}};
  EXPECT_EQ(labelled_choices({{"choices", choices}, {"answerKey", "3"}}, "f").answer, 2);
  EXPECT_EQ(labelled_choices({{"choices", choices}, {"answerKey", "  1"}}, "f").answer, 0);
  expect_error(ErrorKind::Corrupt, "answerKey 'C' is none of the labels of its 3 choices", [&] {
    labelled_choices({{"choices", choices}, {"answerKey", "C"}}, "f");
  });
}

TEST(TaskRecord, RefusesEmptyChoicesAndLabelsOutOfRange) {
  expect_error(ErrorKind::Corrupt, "f: line 2: choice 1 (from 0) is empty", [] {
    multiple_choice("q", {"a", ""}, 0, "f: line 2");
  });
  expect_error(ErrorKind::Corrupt, "f: line 2: the label stands for choice 2 (from 0)", [] {
    multiple_choice("q", {"a", "b"}, 2, "f: line 2");
  });
  expect_error(ErrorKind::Corrupt, "the label stands for choice -1", [] {
    multiple_choice("q", {"a", "b"}, -1, "f: line 2");
  });
  expect_error(ErrorKind::Corrupt, "has no choices", [] { multiple_choice("q", {}, 0, "f"); });
}

}  // namespace
}  // namespace prunus::test::task_record_test
