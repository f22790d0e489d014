#include "prunus/cli/option_tree.h"

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunus::test::option_tree_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OptionTree, HoldsWhatTheParserWasTold) {
  CLI::App app("What it does");
  CLI::App* sub = app.add_subcommand("cut", "Cut a branch");
  sub->option_defaults()->always_capture_default();
  std::string tree, kind = "old";
  std::vector<std::string> tools;
  int depth = 3;
  bool quiet = false;
  sub->add_option("TREE", tree, "which one")->required();
  sub->add_option("--kind", kind, "of wood")->check(CLI::IsMember({"old", "new"}))->group("Wood");
  sub->add_option("--tools", tools, "to cut with");
  sub->add_option("--depth", depth, "how far")->check(CLI::Range(0, 9));
  sub->add_flag("--quiet,-q", quiet, "say nothing");
  sub->add_flag("--secret", quiet, "not for the help")->group("");

  const OptionTree all = option_tree(app);
  EXPECT_EQ(all.program.summary, "What it does");
  EXPECT_THAT(command_names(all), ElementsAre("cut"));
  const std::vector<OptionEntry>& options = all.commands.at(0).options;
  ASSERT_EQ(options.size(), 6U);  // --help comes first, --secret is hidden
  EXPECT_THAT(options[0].names, ElementsAre("--help", "-h"));
  EXPECT_TRUE(options[1].positional && options[1].required);
  EXPECT_THAT(options[1].names, ElementsAre("TREE"));
  EXPECT_THAT(options[2].choices, ElementsAre("old", "new"));
  EXPECT_EQ(options[2].default_value, "old");
  EXPECT_EQ(options[2].group, "Wood");
  EXPECT_TRUE(options[3].repeats);
  EXPECT_EQ(options[4].value, "INT");
  EXPECT_THAT(options[4].choices, IsEmpty());
  EXPECT_EQ(options[5].value, "");
  EXPECT_THAT(options[5].names, ElementsAre("--quiet", "-q"));
}

TEST(OptionTree, PartsAFooterIntoParagraphs) {
  const auto parts =
      paragraphs_of("One\ntwo: three\n\nExamples:\n  a b\n  c\n\nExit codes: 0 done,\n1 not.");
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_EQ(parts[0].heading, "");
  EXPECT_THAT(parts[0].lines, ElementsAre("One", "two: three"));
  EXPECT_EQ(parts[1].heading, "Examples");
  EXPECT_THAT(parts[1].lines, ElementsAre("a b", "c"));
  EXPECT_EQ(parts[2].heading, "Exit codes");
  EXPECT_THAT(parts[2].lines, ElementsAre("0 done,", "1 not."));
  EXPECT_THAT(paragraphs_of("\n\n"), IsEmpty());
}

}  // namespace
}  // namespace prunus::test::option_tree_test
