#include "prunus/cli/completion_text.h"

#include <string_view>

#include <c10/util/StringUtil.h>

namespace prunus {
namespace {

constexpr const char* kBashHead = R"(# bash completion for prunus, made by `prunus completion bash`.
_prunus() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="" words=""
  COMPREPLY=()
  ((COMP_CWORD < 2)) || prev="${COMP_WORDS[COMP_CWORD - 1]}"
  # bash parts words at '='.
  if [[ $cur == = ]]; then
    cur=""
  elif [[ $prev == = ]]; then
    prev="${COMP_WORDS[COMP_CWORD - 2]}"
  fi
)";

// Where COMPREPLY stays empty, bash offers files.
constexpr const char* kBashTail = R"(  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _prunus prunus
)";

constexpr const char* kZshHead = R"(#compdef prunus
# zsh completion for prunus, made by `prunus completion zsh`.
_prunus() {
  local -a commands
  commands=(
)";

constexpr const char* kZshTail = R"(  esac
}
if [ "$funcstack[1]" = "_prunus" ]; then
  _prunus "$@"
else
  compdef _prunus prunus
fi
)";

std::string join(const std::vector<std::string>& words, std::string_view between) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += between;
    text += word;
  }
  return text;
}

// Each character of `special` gets a backslash in front.
std::string escaped(const std::string& text, std::string_view special) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != special.npos) result += '\\';
    result += c;
  }
  return result;
}

// For a single-quoted word of bash or zsh.
std::string quoted(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
  return "'" + result + "'";
}

// A list of candidates has room for a line: what stands before the first ';' outside parentheses
// says the most.
std::string short_description(const std::string& text) {
  int depth = 0;
  size_t end = 0;
  for (; end < text.size() && text[end] != '\n'; ++end) {
    if (text[end] == ';' && depth == 0) break;
    if (text[end] == '(') ++depth;
    if (text[end] == ')') --depth;
  }
  return text.substr(0, end);
}

bool is_number(const OptionEntry& option) { return !option.value.starts_with("TEXT"); }

std::vector<std::string> option_names(const CommandEntry& command) {
  std::vector<std::string> names;
  for (const OptionEntry& option : command.options) {
    if (!option.positional) names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return names;
}

// What may stand where no option does: the few values of an argument, or else files.
std::vector<std::string> argument_choices(const CommandEntry& command) {
  for (const OptionEntry& option : command.options) {
    if (option.positional && !option.choices.empty()) return option.choices;
  }
  return {};
}

// The lines of the inner `case`, for options with a value.
std::string bash_values(const CommandEntry& command) {
  std::vector<std::string> files;
  std::vector<std::string> numbers;
  std::string lines;
  for (const OptionEntry& option : command.options) {
    if (option.positional || option.value.empty()) continue;
    const std::string names = join(option.names, "|");
    if (!option.choices.empty()) {
      lines += c10::str("        ", names, ") words='", join(option.choices, " "), "' ;;\n");
    } else {
      (is_number(option) ? numbers : files).push_back(names);
    }
  }
  if (!files.empty()) lines += c10::str("        ", join(files, "|"), ") return ;;\n");
  if (!numbers.empty()) {
    lines +=
        c10::str("        ", join(numbers, "|"), ") compopt +o default 2>/dev/null; return ;;\n");
  }
  return lines;
}

std::string bash_command(const CommandEntry& command) {
  const std::string arguments = join(argument_choices(command), " ");
  return c10::str("    ", command.name, ")\n      case \"$prev\" in\n", bash_values(command),
                  "        *)\n          if [[ $cur == -* ]]; then\n            words='",
                  join(option_names(command), " "), "'\n          else\n            words='",
                  arguments, "'\n          fi ;;\n      esac ;;\n");
}

// ":TEXT:_files" after an option or the place of an argument.
std::string zsh_value(const OptionEntry& option, const std::string& name) {
  if (option.value.empty()) return "";
  if (!option.choices.empty()) return c10::str(":", name, ":(", join(option.choices, " "), ")");
  return c10::str(":", name, is_number(option) ? ": " : ":_files");
}

std::string zsh_option(const OptionEntry& option, int& place) {
  const std::string description =
      "[" + escaped(short_description(option.description), "\\[]") + "]";
  if (option.positional) {
    const std::string where = option.repeats ? "*" : std::to_string(++place);
    return "        " + quoted(where + zsh_value(option, option.names[0]));
  }
  std::string lines;
  for (const std::string& name : option.names) {
    const std::string others = option.repeats            ? "*"
                               : option.names.size() > 1 ? "(" + join(option.names, " ") + ")"
                                                         : "";
    const std::string value_mark = option.value.empty() ? "" : name.starts_with("--") ? "=" : "+";
    if (!lines.empty()) lines += " \\\n";
    lines += "        " +
             quoted(others + name + value_mark + description + zsh_value(option, option.value));
  }
  return lines;
}

std::string zsh_command(const CommandEntry& command) {
  std::string text = c10::str("    ", command.name, ")\n      _arguments");
  int place = 0;
  for (const OptionEntry& option : command.options) text += " \\\n" + zsh_option(option, place);
  return text + " ;;\n";
}

std::string fish_quoted(const std::string& text) { return "'" + escaped(text, "\\'") + "'"; }

std::string fish_value(const OptionEntry& option) {
  if (option.value.empty()) return "";
  if (!option.choices.empty()) return " -x -a " + fish_quoted(join(option.choices, " "));
  return is_number(option) ? " -x" : " -r -F";
}

// A candidate that stands in place of a command.
std::string fish_first(const std::string& arguments, const std::string& description) {
  return c10::str("complete -c prunus -n __fish_use_subcommand ", arguments, " -d ",
                  fish_quoted(description), "\n");
}

std::string fish_command(const CommandEntry& command) {
  const std::string condition =
      c10::str("complete -c prunus -n '__fish_seen_subcommand_from ", command.name, "'");
  std::string text;
  for (const OptionEntry& option : command.options) {
    if (option.positional) {
      if (!option.choices.empty()) text += condition + " -f" + fish_value(option) + "\n";
      continue;
    }
    text += condition;
    for (const std::string& name : option.names) {
      text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    text += fish_value(option) + " -d " + fish_quoted(short_description(option.description)) + "\n";
  }
  return text;
}

}  // namespace

std::string bash_completion(const OptionTree& tree) {
  const std::string commands = join(command_names(tree), " ");
  std::string text = kBashHead;
  text +=
      c10::str("  if ((COMP_CWORD == 1)); then\n    COMPREPLY=($(compgen -W 'help ", commands, " ",
               join(option_names(tree.program), " "), "' -- \"$cur\"))\n    return\n  fi\n",
               "  case \"${COMP_WORDS[1]}\" in\n    help) words='", commands, "' ;;\n");
  for (const CommandEntry& command : tree.commands) text += bash_command(command);
  return text + kBashTail;
}

std::string zsh_completion(const OptionTree& tree) {
  std::string text = kZshHead;
  text += "    'help:Show the options and examples of a command'\n";
  for (const CommandEntry& command : tree.commands) {
    text += "    " + quoted(command.name + ":" + command.summary) + "\n";
  }
  text += "  )\n  if ((CURRENT == 2)); then\n    _describe command commands\n    _arguments";
  int place = 0;
  for (const OptionEntry& option : tree.program.options)
    text += " \\\n" + zsh_option(option, place);
  text += c10::str("\n    return\n  fi\n  local command=\"$words[2]\"\n  shift words\n",
                   "  ((CURRENT--))\n  case \"$command\" in\n    help) _arguments '1:COMMAND:(",
                   join(command_names(tree), " "), ")' ;;\n");
  for (const CommandEntry& command : tree.commands) text += zsh_command(command);
  return text + kZshTail;
}

std::string fish_completion(const OptionTree& tree) {
  std::string text = "# fish completion for prunus, made by `prunus completion fish`.\n";
  text += fish_first("-f -a help", "Show the options and examples of a command");
  for (const CommandEntry& command : tree.commands) {
    text += fish_first("-f -a " + command.name, command.summary);
  }
  for (const OptionEntry& option : tree.program.options) {
    std::string names;
    for (const std::string& name : option.names) {
      names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    text += fish_first(names.substr(1), option.description);
  }
  text += c10::str("complete -c prunus -n '__fish_seen_subcommand_from help' -f -a ",
                   fish_quoted(join(command_names(tree), " ")), "\n");
  for (const CommandEntry& command : tree.commands) text += fish_command(command);
  return text;
}

}  // namespace prunus
