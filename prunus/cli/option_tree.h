#pragma once
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace prunus {

/// An option or a positional argument, as the help shows it.
struct OptionEntry {
  std::vector<std::string> names;  ///< "--quiet", "-q"; of a positional argument "MODEL" alone
  std::string value;               ///< kind of its value: "TEXT", "INT", "FLOAT"; empty for a flag
  std::vector<std::string> choices;  ///< every value there is; empty where there are no such few
  std::string default_value;         ///< empty where there is none
  std::string group;                 ///< heading in the help
  std::string description;
  bool positional = false;
  bool required = false;
  bool repeats = false;  ///< may be given several times, or takes several values
};

struct CommandEntry {
  std::string name;
  std::string summary;
  std::string footer;                ///< what the help says after the options
  std::vector<OptionEntry> options;  ///< in the order of their declaration
};

/// What completions and the manual page are made from: the parser's own options, nothing else.
struct OptionTree {
  CommandEntry program;
  std::vector<CommandEntry> commands;
};

/// The tree of the program that `app` is, or is a command of. Hidden options are left out.
OptionTree option_tree(const CLI::App& app);

/// A part of a text between blank lines.
struct Paragraph {
  std::string heading;             ///< "Examples" of "Examples:\n  prunus …"; else empty
  std::vector<std::string> lines;  ///< without the heading and without blanks around them
};

/// The paragraphs of a footer. "Exit codes: 0 done …" has the heading "Exit codes".
std::vector<Paragraph> paragraphs_of(const std::string& footer);

/// Every name of the commands, in the tree's order.
std::vector<std::string> command_names(const OptionTree& tree);

}  // namespace prunus
