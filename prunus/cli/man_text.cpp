#include "prunus/cli/man_text.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include <c10/util/StringUtil.h>

#include "prunus/text/utf8.h"

namespace prunus {
namespace {

// Text as roff prints it. '-' is meant as it is typed, not as a hyphen.
std::string roff(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const text::CodePoint point = text::code_point_at(text, at);
    if (point.value == '\\') {
      result += "\\(rs";
    } else if (point.value == '-') {
      result += "\\-";
    } else if (point.value < 0x80) {
      result += static_cast<char>(point.value);
    } else {
      char code[16];
      std::snprintf(code, sizeof code, "\\[u%04X]", static_cast<unsigned>(point.value));
      result += code;
    }
    at += point.bytes;
  }
  return result;
}

// A line of its own: roff takes '.' and ''' at the beginning for a request.
std::string line_of(std::string_view text) {
  const bool request = text.starts_with('.') || text.starts_with('\'');
  return (request ? "\\&" : "") + roff(text) + "\n";
}

std::string bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

std::string description_of(const OptionEntry& option) {
  std::string text;
  std::istringstream lines(option.description);
  for (std::string line; std::getline(lines, line);) {
    if (!text.empty()) text += ".br\n";
    text += line_of(line.substr(std::min(line.find_first_not_of(' '), line.size())));
  }
  std::string facts;
  if (option.required && !option.positional) facts += "Required. ";
  if (!option.default_value.empty()) facts += "Default: " + option.default_value + ". ";
  if (!facts.empty()) text += ".br\n" + line_of(facts.substr(0, facts.size() - 1));
  return text;
}

std::string option_text(const OptionEntry& option) {
  std::string names;
  for (const std::string& name : option.names) {
    if (!names.empty()) names += ", ";
    names += option.positional ? italic(name) : bold(name);
  }
  std::string value;
  if (!option.positional && !option.value.empty()) {
    // With spaces: lists are longer than lines.
    for (const std::string& choice : option.choices) value += (value.empty() ? "" : " | ") + choice;
    value = " " + (value.empty() ? italic(option.value) : bold(value));
  }
  return ".TP\n" + names + value + (option.repeats ? " ...\n" : "\n") + description_of(option);
}

// Groups in the order in which they are first named, as in the help.
std::string options_text(const CommandEntry& command) {
  std::vector<std::string> groups;
  for (const OptionEntry& option : command.options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end()) {
      groups.push_back(option.group);
    }
  }
  std::string text;
  for (const std::string& group : groups) {
    if (groups.size() > 1) text += ".PP\n" + italic(group) + "\n";
    for (const OptionEntry& option : command.options) {
      if (option.group == group) text += option_text(option);
    }
  }
  return text;
}

std::string paragraph_text(const Paragraph& paragraph) {
  const bool examples = paragraph.heading == "Examples";
  std::string text = examples ? ".PP\n.nf\n.RS 4\n" : ".PP\n";
  for (const std::string& line : paragraph.lines) text += line_of(line);
  return examples ? text + ".RE\n.fi\n" : text;
}

std::string synopsis(const CommandEntry& command) {
  std::string text = ".PP\n" + bold("prunus " + command.name);
  for (const OptionEntry& option : command.options) {
    if (!option.required) continue;
    const std::string several = option.repeats ? " ..." : "";
    text += option.positional ? " " + italic(option.names[0]) + several
                              : " " + bold(option.names[0]) + " " + italic(option.value) + several;
  }
  return text + " [" + italic("OPTIONS") + "]\n";
}

std::string command_text(const CommandEntry& command) {
  std::string text = ".SS " + roff("prunus " + command.name) + "\n" + line_of(command.summary) +
                     synopsis(command) + options_text(command);
  for (const Paragraph& one : paragraphs_of(command.footer)) {
    if (!one.heading.empty()) text += ".PP\n" + roff(one.heading) + ":\n";
    text += paragraph_text(one);
  }
  return text;
}

// The program's own footer: examples and exit codes have sections, the rest is the description.
std::string section(const CommandEntry& program, const std::string& heading) {
  std::string text;
  for (const Paragraph& one : paragraphs_of(program.footer)) {
    if (one.heading == heading) text += paragraph_text(one);
  }
  return text;
}

}  // namespace

std::string man_page(const OptionTree& tree, std::string_view version) {
  std::string text = ".\\\" Made by `prunus man`.\n.TH PRUNUS 1 \"\" \"prunus " +
                     std::string(version) + "\" \"User Commands\"\n";
  text += ".SH NAME\nprunus \\- make large language models smaller\n";
  text += ".SH SYNOPSIS\n" + bold("prunus") + " " + italic("COMMAND") + " [" + italic("OPTIONS") +
          "]\n.br\n" + bold("prunus help") + " [" + italic("COMMAND") + "]\n";
  text += ".SH DESCRIPTION\n" + line_of(tree.program.summary) + section(tree.program, "");
  text += ".SH OPTIONS\n" + options_text(tree.program) + ".SH COMMANDS\n";
  for (const CommandEntry& command : tree.commands) text += command_text(command);
  text += ".SH EXIT STATUS\n" + section(tree.program, "Exit codes");
  return text + ".SH EXAMPLES\n" + section(tree.program, "Examples");
}

}  // namespace prunus
