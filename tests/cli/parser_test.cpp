// The command line's words: what is not understood is named, with the nearest known word; every
// example of the help is understood.
#include "prunus/cli/parser.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/cli/command.h"

#include "support/expect_error.h"

namespace prunus::test::parser_test {
namespace {

using Arguments = std::vector<std::string>;
using testing::HasSubstr;

// The message of what is refused; "" where it is understood. Nothing runs.
std::string refusal(const Arguments& arguments) {
  Parser parser(false);
  try {
    parser.parse(arguments);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    return error.what();
  }
  return "";
}

// Words as a shell parts them: double quotes hold words together.
Arguments words_of(const std::string& line) {
  Arguments words;
  bool quoted = false;
  bool inside = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    const bool blank = c == ' ' && !quoted;
    if (!blank && !inside) words.emplace_back();
    inside = !blank;
    if (inside && c != '"') words.back() += c;
  }
  return words;
}

std::vector<std::string> examples_of(const std::string& footer) {
  std::vector<std::string> lines;
  std::istringstream text(footer);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("  prunus ")) lines.push_back(line.substr(9));
  }
  return lines;
}

// The shortest command line that is understood.
Arguments least(const CLI::App& command) {
  Arguments line{command.get_name()};
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_required()) continue;
    if (!option->get_positional()) line.push_back(option->get_name());
    line.emplace_back("x");
  }
  return line;
}

std::vector<const CLI::App*> commands_of(const Parser& parser) {
  return parser.app().get_subcommands([](const CLI::App*) { return true; });
}

TEST(Parser, NamesTheWordAndTheNearestKnownOne) {
  EXPECT_THAT(refusal({"prunne", "M", "--out", "x"}),
              testing::AllOf(HasSubstr("'prunne'"), HasSubstr("did you mean 'prune'?")));
  EXPECT_THAT(refusal({"prunne", "--help"}), HasSubstr("did you mean 'prune'?"));
  EXPECT_THAT(refusal({"help", "evaluate"}), HasSubstr("did you mean 'eval'?"));
  EXPECT_THAT(refusal({"frobnicate"}),
              testing::AllOf(HasSubstr("known: apply, bench"), testing::Not(HasSubstr("mean"))));
  EXPECT_THAT(refusal({"prune", "M", "--output", "x"}),
              HasSubstr("prune: unknown option --output; did you mean '--out'?"));
  EXPECT_THAT(refusal({"prune", "M", "--out", "x", "--raito=0.5"}),
              HasSubstr("unknown option --raito; did you mean '--ratio'?"));
  EXPECT_THAT(refusal({"eval", "M", "-x"}), HasSubstr("unknown option -x"));
  EXPECT_THAT(refusal({"recover", "M", "--out", "x", "--data", "y", "--dtype", "bfloat"}),
              HasSubstr("known: float32, bfloat16; did you mean 'bfloat16'?"));
}

TEST(Parser, SaysWhatIsMissingOrTooMuch) {
  EXPECT_THAT(refusal({}), HasSubstr("no command is given"));
  EXPECT_THAT(refusal({"prune", "M"}), HasSubstr("prune: --out is required"));
  EXPECT_THAT(refusal({"apply", "M", "N", "--plan", "p", "--out", "x"}), HasSubstr("'N'"));
  EXPECT_THAT(refusal({"--threads", "2", "prune"}), HasSubstr("before the command"));
  EXPECT_THAT(refusal({"prune", "M", "--out", "x", "--ratio", "0.2", "--target-params", "0.8x"}),
              HasSubstr("excludes"));
  // What follows an option that takes a value is its value.
  EXPECT_EQ(refusal({"generate", "M", "--prompt", "--ratio"}), "");
}

TEST(Parser, ShowsHelpForTheWordHelp) {
  for (const Arguments& line :
       {Arguments{"help"}, Arguments{"--help"}, Arguments{"-h"}, Arguments{"help", "prune"},
        Arguments{"prune", "--help"}, Arguments{"help", "help"}, Arguments{"--version"}}) {
    Parser parser(false);
    EXPECT_THROW(parser.parse(line), CLI::Success) << testing::PrintToString(line);
  }
}

TEST(Parser, UnderstandsEveryExampleOfTheHelp) {
  const Parser parser(false);
  EXPECT_GE(examples_of(parser.app().get_footer()).size(), 5U);
  std::vector<std::string> lines = examples_of(parser.app().get_footer());
  for (const CLI::App* command : commands_of(parser)) {
    const std::vector<std::string> own = examples_of(command->get_footer());
    EXPECT_GE(own.size(), 2U) << command->get_name();
    EXPECT_THAT(command->get_footer(), testing::Not(HasSubstr("Exit codes:")));  // the program's
    lines.insert(lines.end(), own.begin(), own.end());
  }
  for (const std::string& line : lines) {
    const Arguments words = words_of(line);
    if (words[0] == "help") continue;
    EXPECT_EQ(refusal(words), "") << line;
  }
}

TEST(Parser, RefusesEveryNumberThatIsNone) {
  const Parser parser(false);
  int numbers = 0;
  for (const CLI::App* command : commands_of(parser)) {
    for (const CLI::Option* option : command->get_options()) {
      const std::string type = option->get_type_name();
      const bool whole = type.starts_with("INT") || type.starts_with("UINT");
      if (!whole && !type.starts_with("FLOAT")) continue;
      ++numbers;
      std::vector<std::string> bad = {"",    "-1",  "-0.5", "nan", "inf", "-inf", "1e400", "much",
                                      "1,x", "0x1", "1 ",   "1k",  "1e",  "+1",   "-0"};
      if (whole) bad.insert(bad.end(), {"1.5", "1e9", "99999999999999999999"});
      for (const std::string& value : bad) {
        Arguments line = least(*command);
        line.insert(line.end(), {option->get_name(), value});
        EXPECT_THAT(refusal(line), HasSubstr(option->get_name()))
            << command->get_name() << " " << option->get_name() << " '" << value << "'";
      }
    }
  }
  EXPECT_GT(numbers, 60);
}

TEST(Parser, RefusesCountsWhoseProductsWouldOverflow) {
  const Parser parser(false);
  for (const CLI::App* command : commands_of(parser)) {
    for (const CLI::Option* option : command->get_options()) {
      if (!option->get_type_name().starts_with("INT")) continue;
      Arguments line = least(*command);
      line.insert(line.end(), {option->get_name(), "9223372036854775807"});
      EXPECT_THAT(refusal(line), HasSubstr(option->get_name())) << command->get_name();
    }
  }
}

TEST(Parser, RefusesAnOptionGivenTwiceAndAnEmptyText) {
  const Parser parser(false);
  for (const CLI::App* command : commands_of(parser)) {
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional() || option->get_items_expected_min() == 0) continue;
      Arguments line = least(*command);
      const bool there = option->get_required();
      const std::string value = option->get_type_name().starts_with("TEXT") ? "x" : "1";
      const bool text = value == "x" && option->get_name() != "--prompt";
      Arguments empty = line;
      empty.insert(empty.end(), {option->get_name(), ""});
      if (text) {
        EXPECT_NE(refusal(empty), "") << command->get_name() << option->get_name();
      }
      if (option->get_items_expected_max() != 1) continue;
      for (int i = there ? 1 : 0; i < 2; ++i) line.insert(line.end(), {option->get_name(), value});
      EXPECT_THAT(refusal(line), HasSubstr(option->get_name()))
          << command->get_name() << " " << option->get_name();
    }
  }
}

TEST(Parser, AFlagMayBeGivenTwice) {
  EXPECT_EQ(refusal({"prune", "M", "--out", "x", "--force", "--force", "-q", "--quiet"}), "");
}

TEST(Parser, RefusesBytesThatNoJsonRecordCanHold) {
  EXPECT_THAT(refusal({"prune", "M\xFF", "--out", "x"}), HasSubstr("is not UTF-8"));
  EXPECT_THAT(refusal({"prune", "M", "--out", "x\xC3"}), HasSubstr("is not UTF-8"));
  EXPECT_EQ(refusal({"prune", "M", "--out", "pflaume-\xC3\xBC"}), "");
}

}  // namespace
}  // namespace prunus::test::parser_test
