#include "prunus/cli/option_tree.h"

#include <sstream>
#include <string_view>

#include <CLI/CLI.hpp>

namespace prunus {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

// "{a,b}" in a type such as "TEXT:{a,b}" (CommandLine writes it so).
std::vector<std::string> choices_of(const std::string& type) {
  const size_t open = type.find(":{");
  if (open == type.npos || type.back() != '}') return {};
  return split(type.substr(open + 2, type.size() - open - 3), ',');
}

OptionEntry entry_of(const CLI::Option& option) {
  OptionEntry entry;
  entry.positional = option.get_positional();
  if (entry.positional) {
    entry.names.push_back(option.get_name());
  } else {
    for (const std::string& name : option.get_lnames()) entry.names.push_back("--" + name);
    for (const std::string& name : option.get_snames()) entry.names.push_back("-" + name);
  }
  if (option.get_items_expected_min() > 0) {
    const std::string type = option.get_type_name();
    entry.value = type.substr(0, type.find(':'));
    entry.choices = choices_of(type);
    entry.default_value = option.get_default_str();
    entry.repeats = option.get_items_expected_max() > 1;
  }
  entry.group = option.get_group();
  entry.description = option.get_description();
  entry.required = option.get_required();
  return entry;
}

CommandEntry entry_of(const CLI::App& app) {
  CommandEntry entry{app.get_name(), app.get_description(), app.get_footer(), {}};
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) entry.options.push_back(entry_of(*option));
  }
  return entry;
}

std::string without_blanks(const std::string& line) {
  const size_t first = line.find_first_not_of(' ');
  return first == line.npos ? "" : line.substr(first, line.find_last_not_of(' ') - first + 1);
}

// "Examples: rest" → heading and what is left of the line; these two are the only headings.
void take_heading(Paragraph& paragraph, std::string& line) {
  for (const std::string_view heading : {"Examples", "Exit codes"}) {
    if (!line.starts_with(std::string(heading) + ':')) continue;
    paragraph.heading = heading;
    line = without_blanks(line.substr(heading.size() + 1));
  }
}

}  // namespace

OptionTree option_tree(const CLI::App& app) {
  const CLI::App& program = app.get_parent() == nullptr ? app : *app.get_parent();
  OptionTree tree{entry_of(program), {}};
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    tree.commands.push_back(entry_of(*command));
  }
  return tree;
}

std::vector<Paragraph> paragraphs_of(const std::string& footer) {
  std::vector<Paragraph> paragraphs;
  bool inside = false;
  for (std::string line : split(footer, '\n')) {
    line = without_blanks(line);
    if (line.empty()) {
      inside = false;
      continue;
    }
    if (!inside) take_heading(paragraphs.emplace_back(), line);
    inside = true;
    if (!line.empty()) paragraphs.back().lines.push_back(line);
  }
  return paragraphs;
}

std::vector<std::string> command_names(const OptionTree& tree) {
  std::vector<std::string> names;
  for (const CommandEntry& command : tree.commands) names.push_back(command.name);
  return names;
}

}  // namespace prunus
