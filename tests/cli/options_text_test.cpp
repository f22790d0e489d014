// docs/options.md is what the tables say, its example works, and the tables are sound.
#include "prunus/cli/options_text.h"

#include <set>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/base/recipe.h"
#include "prunus/cli/record_output.h"
#include "prunus/eval/eval_table.h"
#include "prunus/job/program_options.h"
#include "prunus/pipeline/prune_table.h"
#include "prunus/recover/recover_table.h"
#include "prunus/train/train_settings.h"

#include "cli/fixture.h"
#include "support/expect_error.h"

namespace prunus::test_cli::options_text_test {
namespace {

bool is_list(const BoundOption& option) {
  const OptionKind kind = kind_of(option);
  return kind == OptionKind::Wholes || kind == OptionKind::Texts;
}

std::string join(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& one : words) all += (all.empty() ? "" : ", ") + one;
  return all;
}

// What a parse function says of a word that it cannot know; "" where it takes any.
std::string refusal(const BoundOption& option) {
  const auto* word = std::get_if<BoundOption::Text>(&option.value);
  if (word == nullptr) return "";
  try {
    word->set("no such word", "--option");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(OptionsPage, IsTheOneInDocs) {
  EXPECT_EQ(options_page(), read(test::source_path("docs/options.md")))
      << "run: prunus options > docs/options.md";
}

TEST(OptionTables, NameEachOptionOnceAndSayWhatItDoes) {
  for (const CommandOptions& command : all_options()) {
    std::set<std::string> keys;
    for (const BoundOption& option : command.options) {
      const OptionInfo& info = *option.info;
      SCOPED_TRACE(std::string(command.command) + " " + info.key);
      EXPECT_TRUE(keys.insert(info.key).second);
      if (kind_of(option) == OptionKind::None) continue;
      EXPECT_NE(help_of(info), "");
      EXPECT_FALSE(info.recipe_only && info.required);
    }
    for (const BoundOption& option : command.options) {
      for (const std::string& other : words_of(option.info->excludes)) {
        EXPECT_TRUE(keys.contains(other)) << option.info->key << " excludes " << other;
      }
    }
  }
}

TEST(OptionTables, TakeTheirOwnDefaultsAndEveryChoice) {
  int choices = 0;
  for (const CommandOptions& command : all_options()) {
    for (const BoundOption& option : command.options) {
      SCOPED_TRACE(std::string(command.command) + " " + option.info->key);
      const std::string value = text_of(option);
      if (!value.empty() && !is_list(option) && !option.info->default_in_help) {
        EXPECT_EQ(fault_of(option, value), "");
      }
      for (const std::string& choice : choices_of(*option.info)) {
        EXPECT_NO_THROW(assign(option, {option.info->key, {choice}, "--option"})) << choice;
        ++choices;
        if (*option.info->choices == '\0' || option.info->key == std::string("preset")) continue;
        EXPECT_EQ(text_of(option), choice);
      }
    }
  }
  EXPECT_GT(choices, 60);
}

TEST(OptionTables, ListEveryWordThatTheirParserKnows) {
  int lists = 0;
  for (const CommandOptions& command : all_options()) {
    for (const BoundOption& option : command.options) {
      const std::vector<std::string> choices = choices_of(*option.info);
      const std::string message = choices.empty() ? "" : refusal(option);
      if (message.empty()) continue;
      ++lists;
      EXPECT_THAT(message, HasSubstr("known: " + join(choices)))
          << command.command << " " << option.info->key;
    }
  }
  EXPECT_GE(lists, 10);
}

TEST(OptionTables, WhatAResumptionMayChangeIsWhatTheTrainerTakes) {
  std::set<std::string> changeable = {"epochs", "warmup_fraction"};  // what two of them come from
  for (const auto& [name, value] : changeable_settings({})) changeable.insert(name);
  std::set<std::string> recover;
  for (const auto& option : recover_table.options) {
    if (option.info.recorded != Recorded::Progress) continue;
    recover.insert(std::string(option.info.record).substr(sizeof "training." - 1));
  }
  EXPECT_EQ(recover, changeable);
  for (const auto& option : train_table.options) {
    const std::string name =
        *option.info.record == '\0' ? recipe_key(option.info) : option.info.record;
    EXPECT_EQ(option.info.recorded == Recorded::Progress, changeable.contains(name)) << name;
  }
}

template <typename Job, typename Resolved>
void add_keys(std::set<std::string>& keys, const OptionTable<Job, Resolved>& table) {
  for (const auto& option : table.options) keys.insert(recipe_key(option.info));
}

TEST(OptionTables, TheLibraryPassesOverWhatIsTheProgramsAlone) {
  std::set<std::string> eval;
  add_keys(eval, program_table);
  std::set<std::string> bench = eval;
  add_keys(eval, eval_output_table);
  add_keys(bench, bench_output_table);
  const auto others = [](const auto& table) {
    return std::set<std::string>(table.others.begin(), table.others.end());
  };
  EXPECT_EQ(others(eval_table), eval);
  EXPECT_EQ(others(bench_table), bench);
  EXPECT_EQ(others(verify_table), bench);
}

class OptionsExample : public CliTest {
 protected:
  static std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
    return text;
  }

  // The recipe of the page, with the paths of this test.
  std::string recipe() const {
    const std::string page = options_page();
    const size_t begin = page.find("```toml\n") + 8;
    std::string text = page.substr(begin, page.find("```", begin) - begin);
    for (const auto& [name, path] : std::initializer_list<std::pair<const char*, std::string>>{
             {"\"MODEL\"", model},
             {"\"SMALLER\"", dir / "smaller"},
             {"\"BETTER\"", dir / "better"},
             {"\"text.txt\"", file("text.txt", some_text(300))},
             {"\"valid.txt\"", file("valid.txt", some_text(40))}}) {
      text = replaced(text, name, "\"" + path + "\"");
    }
    return file("plum.toml", text);
  }
};

TEST_F(OptionsExample, RunsAsThePageSays) {
  const std::string plum = recipe();
  for (const Arguments& line :
       {Arguments{"prune", "--config", plum},
        Arguments{"prune", "--config", plum, "--target-params", "0.9x", "--out", out},
        Arguments{"recover", "--config", plum}, Arguments{"eval", "--config", plum, "--json"}}) {
    const Outcome done = prunus(line);
    EXPECT_EQ(done.exit_code, 0) << done.err;
  }
  expect_model({0, 0, "", "", 0}, dir / "smaller");
  const Json options = json_of(dir / "smaller/run.json").at("options");
  EXPECT_EQ(options.at("recipe"), plum);
  EXPECT_EQ(options.at("seed"), 7);
  EXPECT_EQ(options.at("ratio"), 0.25);
  EXPECT_EQ(options.at("ffn_layers"), Json::parse("[0, 2]"));
  EXPECT_EQ(json_of(dir / "smaller/run.json").at("threads"), 2);
  const Json other = json_of(out + "/run.json").at("options");
  EXPECT_EQ(other.at("ratio"), nullptr);  // dropped by what excludes it
  EXPECT_NE(other.at("target_params"), nullptr);
  const Json better = json_of(dir / "better/run.json").at("options");
  EXPECT_EQ(better.at("lora").at("targets"), "q_proj,v_proj");
  EXPECT_EQ(better.at("training").at("kd_weight"), 1.0);
}

TEST_F(OptionsExample, FillsJobsInTheLibraryToo) {
  const std::string plum = recipe();
  PruneJob prune;
  read_recipe(plum, prune_table, prune);
  EXPECT_EQ(prune.model_dir, model);
  EXPECT_EQ(prune.options.taylor, "vectorize");
  EXPECT_EQ(prune.options.ratio, 0.25);
  EXPECT_EQ(prune.options.seed, 7U);
  EXPECT_EQ(prune.recipe, plum);
  fs::create_directory(dir / "smaller");  // a recipe is read where its models stand
  RecoverJob recover = recover_defaults(RecoverMode::Full, "");
  recover.lora.r = 4;
  read_recipe(plum, recover_table, recover);
  EXPECT_EQ(recover.mode, RecoverMode::Full);  // the recipe says nothing of it
  EXPECT_EQ(recover.lora.r, 4);
  EXPECT_EQ(recover.trainer.loss.ce, 0.1);
  EXPECT_EQ(recover.max_steps, 20);
}

}  // namespace
}  // namespace prunus::test_cli::options_text_test
