#include "prunus/cli/command_line.h"

#include <CLI/CLI.hpp>

#include "prunus/base/error.h"
#include "prunus/base/recipe.h"

namespace prunus {
namespace {

bool is_list(const BoundOption& option) {
  const OptionKind kind = kind_of(option);
  return kind == OptionKind::Wholes || kind == OptionKind::Texts;
}

// As it is given: "MODEL", "--ratio".
std::string given_name(const OptionInfo& info) {
  return *info.positional != '\0' ? info.positional : std::string("--") + info.key;
}

// All names, as the parser wants them: "--quiet,-q".
std::string parser_names(const OptionInfo& info) {
  std::string names = given_name(info);
  for (const std::string& other : words_of(info.also)) {
    names += (other.size() == 1 ? ",-" : ",--") + other;
  }
  return names;
}

// Kinds of values as the help and completions know them.
const char* type_name(OptionKind kind) {
  switch (kind) {
    case OptionKind::Whole:
    case OptionKind::Wholes:
      return "INT";
    case OptionKind::Seed:
      return "UINT";
    case OptionKind::Real:
      return "FLOAT";
    default:
      return "TEXT";
  }
}

// What the help shows of the values: all words, or an interval with two ends.
std::string values_text(const BoundOption& option) {
  std::string words;
  for (const std::string& one : choices_of(*option.info)) words += (words.empty() ? "" : ",") + one;
  if (!words.empty()) return "{" + words + "}";
  const std::string interval = interval_of(option);
  return interval.find(',') == interval.npos ? "" : interval;
}

CLI::Validator no_fault(const BoundOption& option) {
  return {[&option](std::string& text) { return fault_of(option, text); }, values_text(option)};
}

std::string default_text(const BoundOption& option) {
  return option.info->default_in_help ? "" : text_of(option);
}

void declare_value(CLI::App& app, const BoundOption& option, CLI::callback_t take) {
  const OptionInfo& info = *option.info;
  CLI::Option* declared = app.add_option(parser_names(info), std::move(take), help_of(info));
  declared->type_name(type_name(kind_of(option)))->group(info.group)->required(info.required);
  declared->default_str(default_text(option));
  if (is_list(option)) {
    declared->expected(CLI::detail::expected_max_vector_size);
    if (info.separator != 0) declared->delimiter(info.separator);
    declared->allow_extra_args(!info.one_argument);
  }
  declared->check(no_fault(option));
}

void declare_flag(CLI::App& app, const BoundOption& option,
                  std::function<void(const std::string&)> take) {
  const OptionInfo& info = *option.info;
  app.add_flag_function(
         parser_names(info),
         [take = std::move(take)](int64_t times) { take(times > 0 ? "true" : "false"); },
         help_of(info))
      ->group(info.group);
}

// The recipe may give what the command line does not.
void require_nothing(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) option->required(false);
}

void declare_exclusions(CLI::App& app, const std::vector<BoundOption>& options) {
  for (const BoundOption& option : options) {
    for (const std::string& other : words_of(option.info->excludes)) {
      app.get_option(given_name(*option.info))->excludes(app.get_option("--" + other));
    }
  }
}

}  // namespace

void CommandLine::declare(CLI::App& app) {
  for (const BoundOption& option : options_) {
    const OptionInfo& info = *option.info;
    const OptionKind kind = kind_of(option);
    if (kind == OptionKind::None || info.recipe_only) continue;
    const auto take = [this, &app, &info](const std::vector<std::string>& texts) {
      line_.add({info.key, texts, given_name(info)});
      if (info.is_recipe) require_nothing(app);
      return true;
    };
    if (kind == OptionKind::Flag) {
      declare_flag(app, option, [take](const std::string& text) { take({text}); });
    } else {
      declare_value(app, option, take);
    }
  }
  declare_exclusions(app, options_);
}

Given CommandLine::read() const {
  for (const BoundOption& option : options_) {
    if (!option.info->is_recipe || !line_.has(option.info->key)) continue;
    return override_by(read_given(line_.text(option.info->key), command_, options_), line_,
                       options_);
  }
  return line_;
}

void CommandLine::check_required(const Given& given) const {
  for (const BoundOption& option : options_) {
    const OptionInfo& info = *option.info;
    PRUNUS_CHECK(!info.required || given.has(info.key), InvalidArgument, command_, ": ",
                 given_name(info), " is required, on the command line or as ", recipe_key(info),
                 " in the recipe");
  }
}

void CommandLine::fill_jobs() const {
  const Given given = read();
  check_required(given);
  for (const auto& filler : fillers_) filler(given);
}

}  // namespace prunus
