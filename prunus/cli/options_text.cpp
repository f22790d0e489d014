#include "prunus/cli/options_text.h"

#include <algorithm>

#include <c10/util/StringUtil.h>

#include "prunus/cli/record_output.h"
#include "prunus/eval/eval_table.h"
#include "prunus/export/export_job.h"
#include "prunus/job/import.h"
#include "prunus/job/program_options.h"
#include "prunus/pipeline/prune_table.h"
#include "prunus/recover/prune_recover.h"
#include "prunus/recover/recover_table.h"

namespace prunus {
namespace {

constexpr const char* kHead = R"(# Options and recipes

Printed by `prunus options` from the tables that the command line is made from; a test keeps this page
the same.

## Recipes

`prunus prune`, `apply`, `export`, `recover`, `merge`, `train`, `eval`, `bench`, `verify` and `import` read any of their options
from a file: `--config recipe.toml` (also `--recipe`; `train` has `--recipe` alone, since its `--config` is the
model's). Keys are the options' names with `_` for `-`, `model` for MODEL. They stand at top level, or in
a table with the command's name, which wins; tables of other commands are passed over, so that one file
serves several:

```toml
# plum.toml
seed = 7
threads = 2

[prune]
model = "MODEL"
out = "SMALLER"
calib = "text.txt"
taylor = "vectorize"
ratio = 0.25
ffn_layers = [0, 2]        # or "0:2", as on the command line

[recover]
model = "SMALLER"
out = "BETTER"
data = "text.txt"
teacher = "MODEL"
lora_targets = ["q_proj", "v_proj"]
max_steps = 20

[eval]
model = "BETTER"
ppl = ["valid.txt"]
```

    prunus prune --config plum.toml
    prunus prune --config plum.toml --target-params 0.8x --out OTHER
    prunus recover --config plum.toml
    prunus eval --config plum.toml

- The command line comes first: it overrides the same key, and drops what excludes what it gives (above,
  `ratio`). A flag of the recipe is switched off by `--flag=false`.
- Relative paths are relative to the working directory, not to the recipe.
- Flags are `true` or `false`, numbers are numbers, lists are lists. What the command line takes as one
  word with commas or a colon may be a list, too.
- An unknown key, a value of another type or out of range is a usage error (exit 2) that names file,
  line, column, key, what stands there and what was expected. A file that is not TOML is exit 3.
- A recipe is nothing but another way to write a command line: the same values give the same run, and
  `--resume` goes on with either. run.json has the recipe's path as `recipe`, and every value in force.
- A file whose name ends in .json is read as JSON, with the same keys and tables.
- In C++: `read_recipe(path, prune_table, job)` (prunus/base/recipe.h).

## Options

"In run.json" is the key below `options` where it differs from the recipe's; – stands for what does not
decide the result and is not recorded. Options marked "recipe only" are not on the command line.
Where a run with `--resume` may have another value, it says so.
)";

template <typename Job, typename Resolved>
void add(CommandOptions& command, const OptionTable<Job, Resolved>& table) {
  auto job = std::make_shared<Job>(table.fresh());
  for (BoundOption& option : bind(table, *job)) command.options.push_back(std::move(option));
  command.jobs.push_back(job);
}

template <typename Job, typename Resolved>
CommandOptions options_of(const OptionTable<Job, Resolved>& table) {
  CommandOptions command{table.command, {}, {}};
  add(command, table);
  return command;
}

// In a cell of a table.
std::string cell(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? "<br>" : std::string(1, c);
  }
  return result;
}

std::string code(const std::string& text) { return text.empty() ? "" : "`" + text + "`"; }

std::string name_cell(const OptionInfo& info) {
  if (*info.positional != '\0') return code(info.positional);
  if (info.recipe_only) return code(recipe_key(info)) + ", recipe only";
  std::string names = code(std::string("--") + info.key);
  for (const std::string& other : words_of(info.also)) {
    names += ", " + code((other.size() == 1 ? "-" : "--") + other);
  }
  return names;
}

std::string value_cell(const BoundOption& option) {
  if (kind_of(option) == OptionKind::Flag) return "flag";
  std::string words;
  for (const std::string& one : choices_of(*option.info)) {
    words += (words.empty() ? "" : ", ") + code(one);
  }
  if (!words.empty()) return words;
  const std::string mark = interval_of(option);
  const std::string interval = mark.empty() ? "" : " " + mark;
  switch (kind_of(option)) {
    case OptionKind::Whole:
      return "whole" + interval;
    case OptionKind::Wholes:
      return "list of whole" + interval;
    case OptionKind::Seed:
      return "whole, 64 bits";
    case OptionKind::Real:
      return "number" + interval;
    case OptionKind::Texts:
      return "list of texts";
    default:
      return "text";
  }
}

std::string default_cell(const BoundOption& option) {
  if (option.info->required) return "required";
  const bool flag = kind_of(option) == OptionKind::Flag;
  const std::string text = text_of(option);
  return option.info->default_in_help || (flag && text == "false") ? "" : code(text);
}

std::string record_cell(const OptionInfo& info) {
  if (info.recorded == Recorded::No) return "–";
  std::string text = *info.record == '\0' ? "" : code(info.record);
  if (info.recorded == Recorded::Progress) text += text.empty() ? "may change" : "; may change";
  return text;
}

std::string row(const BoundOption& option) {
  const OptionInfo& info = *option.info;
  return c10::str("| ", name_cell(info), " | ", value_cell(option), " | ", default_cell(option),
                  " | ", cell(help_of(info)), " | ", record_cell(info), " |\n");
}

// Groups in the order in which they are first named, as in the help.
std::vector<std::string> groups_of(const std::vector<BoundOption>& options) {
  std::vector<std::string> groups;
  for (const BoundOption& option : options) {
    const std::string group = option.info->group;
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  return groups;
}

std::string tables_of(const std::vector<BoundOption>& options) {
  std::string text;
  const std::vector<std::string> groups = groups_of(options);
  for (const std::string& group : groups) {
    if (groups.size() > 1) text += "\n" + group + ":\n";
    text += "\n| Option | Value | Default | What | In run.json |\n|---|---|---|---|---|\n";
    for (const BoundOption& option : options) {
      const bool shown = kind_of(option) != OptionKind::None && option.info->group == group;
      if (shown) text += row(option);
    }
  }
  return text;
}

}  // namespace

std::vector<CommandOptions> all_options() {
  std::vector<CommandOptions> all;
  all.push_back(options_of(prune_table));
  add(all.back(), recover_after_table);
  all.push_back(options_of(apply_table));
  all.push_back(options_of(export_table));
  all.push_back(options_of(recover_table));
  all.push_back(options_of(merge_table));
  all.push_back(options_of(train_table));
  all.push_back(options_of(eval_table));
  add(all.back(), eval_output_table);
  all.push_back(options_of(bench_table));
  add(all.back(), bench_output_table);
  all.push_back(options_of(verify_table));
  add(all.back(), verify_output_table);
  all.push_back(options_of(import_table));
  all.push_back(options_of(program_table));
  return all;
}

std::string options_page() {
  std::string text = kHead;
  for (const CommandOptions& command : all_options()) {
    text += command.command.empty() ? std::string("\n### Every one of these commands\n")
                                    : c10::str("\n### prunus ", command.command, "\n");
    text += tables_of(command.options);
  }
  return text;
}

}  // namespace prunus
