#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/cli/man_text.h"
#include "prunus/cli/parser.h"

#include "shell.h"
#include "support/paths.h"

namespace prunus::test::man_test {
namespace {

using testing::HasSubstr;

std::string page() {
  const Parser parser(false);
  return man_page(option_tree(parser.app()), "1.2.3");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// The part of the page about a command.
std::string part_of(const std::string& page, const std::string& command) {
  const size_t begin = page.find(".SS prunus " + command + "\n");
  if (begin == page.npos) return "";
  return page.substr(begin, page.find("\n.S", begin + 1) - begin);
}

std::string dashes_escaped(const std::string& name) {
  std::string text;
  for (const char c : name) text += c == '-' ? "\\-" : std::string(1, c);
  return text;
}

TEST(Man, HoldsEveryOptionOfEveryCommand) {
  const std::string text = page();
  const Parser parser(false);
  int options = 0;
  for (const CLI::App* command :
       parser.app().get_subcommands([](const CLI::App*) { return true; })) {
    const std::string part = part_of(text, command->get_name());
    for (const CLI::Option* option : command->get_options()) {
      ++options;
      const std::string font = option->get_positional() ? "\\fI" : "\\fB";
      EXPECT_THAT(part, HasSubstr(font + dashes_escaped(option->get_name()) + "\\fR"))
          << command->get_name();
    }
  }
  EXPECT_GT(options, 150);
}

TEST(Man, HasTheSectionsOfAManualPage) {
  const std::string text = page();
  EXPECT_THAT(text, HasSubstr(".TH PRUNUS 1 \"\" \"prunus 1.2.3\""));
  for (const char* section :
       {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "EXAMPLES"}) {
    EXPECT_THAT(text, HasSubstr(std::string(".SH ") + section + "\n"));
  }
  EXPECT_THAT(text, HasSubstr("6 output check failed"));
  EXPECT_THAT(text, HasSubstr(".SS prunus prune\n"));
  EXPECT_THAT(text, HasSubstr("\\fB\\-\\-precision\\fR \\fBfloat32 | bfloat16 | float64\\fR\n"));
}

TEST(Man, IsAsciiAndEveryRequestIsOneOfTheManMacros) {
  const std::set<std::string> known = {".\\\"", ".TH", ".SH", ".SS", ".PP", ".TP",
                                       ".br",   ".nf", ".fi", ".RS", ".RE"};
  int depth = 0;
  for (const std::string& line : lines_of(page())) {
    for (const char c : line) EXPECT_TRUE(c >= ' ' && c <= '~') << line;
    ASSERT_FALSE(line.empty());
    EXPECT_NE(line[0], '\'') << line;
    if (line[0] != '.') continue;
    EXPECT_TRUE(known.count(line.substr(0, line.find(' '))) == 1) << line;
    depth += line == ".nf" ? 1 : line == ".fi" ? -1 : 0;
    EXPECT_TRUE(depth == 0 || depth == 1) << line;
  }
  EXPECT_EQ(depth, 0);
}

TEST(Man, EscapesWhatRoffWouldTakeForItsOwn) {
  OptionTree tree;
  tree.commands = {{"cut", "'Tis short", "", {}}};
  tree.commands[0].options = {{.names = {"--odd"},
                               .value = "",
                               .choices = {},
                               .default_value = "",
                               .group = "Options",
                               .description = "back\\slash\n  .dot: w\xC2\xB2 a-b"}};
  const std::string text = man_page(tree, "1");
  EXPECT_THAT(text, HasSubstr("\n\\&'Tis short\n"));
  EXPECT_THAT(text, HasSubstr("\nback\\(rsslash\n.br\n\\&.dot: w\\[u00B2] a\\-b\n"));
}

TEST(Man, GroffHasNothingToSayAgainstItWhereItIsInstalled) {
  const TempDir dir;
  write_text(dir / "prunus.1", page());
  if (has_program("groff")) {
    EXPECT_EQ(shell("groff -man -Tutf8 -ww " + dir / "prunus.1" + " >/dev/null"), "");
  }
}

}  // namespace
}  // namespace prunus::test::man_test
