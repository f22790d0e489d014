// bash runs its script here. zsh and fish check the syntax of theirs where they are installed; what
// the scripts hold is looked at everywhere.
#include <map>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/cli/completion_text.h"
#include "prunus/cli/parser.h"

#include "shell.h"
#include "support/paths.h"

namespace prunus::test::completion_test {
namespace {

using testing::HasSubstr;

using Names = std::set<std::string>;

// Every option's names by command, from the parser itself.
std::map<std::string, Names> names_by_command() {
  const Parser parser(false);
  std::map<std::string, Names> all;
  for (const CLI::App* command :
       parser.app().get_subcommands([](const CLI::App*) { return true; })) {
    Names& names = all[command->get_name()];
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) names.insert("--" + name);
      for (const std::string& name : option->get_snames()) names.insert("-" + name);
    }
  }
  return all;
}

OptionTree program_tree() {
  const Parser parser(false);
  return option_tree(parser.app());
}

// bash with the script, at the end of each of these lines, whose words are parted as bash does.
// One line of candidates each.
std::vector<Names> complete(const std::vector<std::string>& lines) {
  const TempDir dir;
  write_text(dir / "prunus", bash_completion(program_tree()));
  std::string script = "source " + dir / "prunus" + "\n";
  for (const std::string& words : lines) {
    script += "COMP_WORDS=(prunus " + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n" +
              "_prunus; echo \"${COMPREPLY[@]}\"\n";
  }
  write_text(dir / "script", script);
  std::vector<Names> found;
  std::istringstream output(shell("bash --norc " + dir / "script"));
  for (std::string line; std::getline(output, line);) {
    std::istringstream words(line);
    Names& names = found.emplace_back();
    for (std::string word; words >> word;) names.insert(word);
  }
  return found;
}

Names complete(const std::string& words) { return complete(std::vector<std::string>{words}).at(0); }

// What the script of zsh says of a command.
std::string zsh_part(const std::string& script, const std::string& command) {
  const size_t begin = script.find("\n    " + command + ")\n");
  if (begin == script.npos) return "";
  return script.substr(begin, script.find(";;\n", begin) - begin);
}

OptionTree hostile_tree() {
  OptionTree tree;
  tree.commands = {{"cut", "Cut it, don't ask", "", {}}};
  tree.commands[0].options = {{.names = {"--odd"},
                               .value = "TEXT",
                               .choices = {},
                               .default_value = "",
                               .group = "Options",
                               .description = "it's [a] back\\slash: $(x); rest"}};
  return tree;
}

TEST(Completion, BashFindsNoFaultInTheScript) {
  const TempDir dir;
  write_text(dir / "prunus", bash_completion(program_tree()));
  EXPECT_EQ(shell("bash -n " + dir / "prunus"), "");
}

TEST(Completion, CompletesCommands) {
  EXPECT_EQ(complete("pr"), Names{"prune"});
  EXPECT_EQ(complete("help me"), Names{"merge"});
  EXPECT_EQ(complete("--v"), Names{"--version"});
  EXPECT_EQ(complete("nothing"), Names{});
}

TEST(Completion, CompletesOptions) {
  EXPECT_EQ(complete("prune --ra"), (Names{"--ratio", "--ram"}));
  EXPECT_EQ(complete("prune MODEL --out DIR --dry"), Names{"--dry-run"});
  EXPECT_EQ(complete("merge --ra"), Names{});
}

TEST(Completion, CompletesTheValuesWhereThereAreFew) {
  EXPECT_EQ(complete("prune M --precision ''"), (Names{"bfloat16", "float32", "float64"}));
  EXPECT_EQ(complete("prune M --precision = float6"), Names{"float64"});  // --precision=float6
  EXPECT_EQ(complete("prune M --precision ="), (Names{"bfloat16", "float32", "float64"}));
  EXPECT_EQ(complete("completion ''"), (Names{"bash", "fish", "zsh"}));
  EXPECT_EQ(complete("prune M --granularity q"), Names{"query-head"});
  EXPECT_EQ(complete("prune M --method wan"), (Names{"wanda", "wanda-sp"}));  // of the catalogue
  EXPECT_EQ(complete("recover M --schedule l"), Names{"linear"});
}

TEST(Completion, LeavesFilesToBash) {
  EXPECT_EQ(complete("prune ''"), Names{});
  EXPECT_EQ(complete("prune M --calib te"), Names{});
  EXPECT_EQ(complete("prune M --calib --ra"), Names{});  // the value of --calib
}

TEST(Completion, CompletesEveryOptionOfEveryCommandInBash) {
  const auto all = names_by_command();
  std::vector<std::string> lines;
  for (const auto& [command, names] : all) lines.push_back(command + " -");
  const std::vector<Names> found = complete(lines);
  ASSERT_EQ(found.size(), all.size());
  size_t at = 0;
  for (const auto& [command, names] : all) EXPECT_EQ(found[at++], names) << command;
}

TEST(Completion, HoldsEveryOptionOfEveryCommandForZshAndFish) {
  const std::string zsh = zsh_completion(program_tree());
  const std::string fish = fish_completion(program_tree());
  for (const auto& [command, names] : names_by_command()) {
    const std::string part = zsh_part(zsh, command);
    for (const std::string& name : names) {
      EXPECT_THAT(part, testing::AnyOf(HasSubstr(name + "["), HasSubstr(name + "=["))) << command;
      const bool is_long = name.starts_with("--");
      const std::string word = is_long ? " -l " + name.substr(2) : " -s " + name.substr(1);
      EXPECT_THAT(fish, testing::ContainsRegex("_from " + command + "'.*" + word + " ")) << command;
    }
  }
}

TEST(Completion, QuotesWhatAShellWouldTakeForItsOwn) {
  const std::string zsh = zsh_completion(hostile_tree());
  EXPECT_THAT(zsh, HasSubstr(R"('--odd=[it'\''s \[a\] back\\slash: $(x)]:TEXT:_files')"));
  EXPECT_THAT(zsh, HasSubstr(R"('cut:Cut it, don'\''t ask')"));
  EXPECT_THAT(fish_completion(hostile_tree()),
              HasSubstr(R"( -l odd -r -F -d 'it\'s [a] back\\slash: $(x)')"));
}

TEST(Completion, ZshAndFishFindNoFaultWhereTheyAreInstalled) {
  const TempDir dir;
  const std::map<std::string, std::string> scripts = {{"zsh", zsh_completion(program_tree())},
                                                      {"fish", fish_completion(program_tree())}};
  for (const auto& [name, script] : scripts) {
    EXPECT_EQ(script.find('\t'), script.npos);
    write_text(dir / name, script);
    if (has_program(name)) {
      EXPECT_EQ(shell(name + " -n " + dir / name), "");
    }
  }
}

}  // namespace
}  // namespace prunus::test::completion_test
