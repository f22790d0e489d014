#include "prunus/cli/parser.h"

#include <algorithm>
#include <map>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/cli/command.h"
#include "prunus/text/utf8.h"

namespace prunus {
namespace {

using Arguments = std::vector<std::string>;

constexpr size_t kMostShown = 100;  // characters of a value in a message

constexpr const char* kFooter = R"(Examples:
  prunus inspect MODEL
  prunus eval MODEL --ppl valid.txt
  prunus prune MODEL --out SMALLER --ratio 0.25 --calib text.txt
  prunus prune MODEL --out SMALLER --target-params 0.8x --calib text.txt
  prunus recover SMALLER --out BETTER --data text.jsonl --teacher MODEL
  prunus generate SMALLER --prompt "Once upon a time"

MODEL is a Hugging Face directory: config.json, *.safetensors, tokenizer files.
Progress and messages go to stderr, results to stdout (--json for machines).
`prunus help COMMAND` shows the options and examples of a command.

Exit codes: 0 done, 1 the system refused (disk full, out of memory), 2 usage, 3 bad input
file, 4 unsupported model, 5 numeric failure, 6 output check failed, 7 internal error (a
fault of Prunus: please report it), 130 interrupted.)";

// A whole text was hardly meant as the name of something.
std::string shown(const std::string& value) {
  return value.size() <= kMostShown ? value : value.substr(0, kMostShown) + "...";
}

std::vector<std::string> names_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command* command : commands::all()) names.emplace_back(command->name);
  return names;
}

bool is_option(const std::string& argument) {
  return argument.size() > 1 && argument[0] == '-' && argument != "--";
}

[[noreturn]] void refuse_option(const std::string& command, const std::string& name,
                                const std::vector<std::string>& known) {
  PRUNUS_FAIL(InvalidArgument, command, ": unknown option ", shown(name), did_you_mean(name, known),
              "; `prunus help ", command, "` lists the options");
}

const CLI::Option* known_option(const CLI::App& command, const std::string& argument) {
  const bool is_long = argument.starts_with("--");
  return command.get_option_no_throw(is_long ? argument.substr(0, argument.find('='))
                                             : argument.substr(0, 2));
}

// The first option that is not known, or is given twice where once is meant. What is left, the
// parser's own words say.
void check_options(const CLI::App& command, const Arguments& arguments) {
  std::map<const CLI::Option*, int> times;
  for (size_t i = 1; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string& one = arguments[i];
    if (!is_option(one)) continue;
    const CLI::Option* option = known_option(command, one);
    if (option == nullptr) {
      refuse_option(command.get_name(), one.substr(0, one.find('=')), names_of(command));
    }
    const bool takes_value = option->get_items_expected_min() > 0;
    const bool once = takes_value && option->get_items_expected_max() == 1;
    PRUNUS_CHECK(++times[option] == 1 || !once, InvalidArgument, command.get_name(), ": ",
                 option->get_name(), " is given more than once; which value is meant?");
    if (takes_value && one.find('=') == one.npos) ++i;  // its value
  }
}

void check_command(const std::string& name) {
  const std::vector<std::string> known = command_names();
  const bool found = std::find(known.begin(), known.end(), name) != known.end();
  PRUNUS_CHECK(found, InvalidArgument, "command ", unknown_word(shown(name), known));
}

// The rest of what can be wrong: something is missing, too much, or has a value that makes no
// sense.
[[noreturn]] void refuse(const CLI::App& app, const Arguments& arguments,
                         const CLI::ParseError& error) {
  PRUNUS_CHECK(!arguments.empty(), InvalidArgument,
               "no command is given; `prunus help` lists them");
  PRUNUS_CHECK(!is_option(arguments[0]), InvalidArgument, "option ", shown(arguments[0]),
               " stands before the command; options stand behind it: prunus COMMAND --OPTION");
  const CLI::App& command = *app.get_subcommand(arguments[0]);
  check_options(command, arguments);
  const std::vector<std::string> extra = command.remaining();
  PRUNUS_CHECK(extra.empty(), InvalidArgument, command.get_name(), ": '", shown(extra[0]),
               "' is one argument too many");
  PRUNUS_FAIL(InvalidArgument, command.get_name(), ": ", error.what(), "; `prunus help ",
              command.get_name(), "` shows how it is used");
}

// `help` where a command is expected.
Arguments with_help_as_option(Arguments arguments) {
  if (arguments.empty() || arguments[0] != "help") return arguments;
  if (arguments.size() == 1) return {"--help"};
  return {arguments[1] == "help" || is_option(arguments[1]) ? "--help" : arguments[1], "--help"};
}

// Paths and texts are written into JSON records, which hold UTF-8 only: known before the work.
void check_utf8(const Arguments& arguments) {
  for (const std::string& one : arguments) {
    const bool valid = !text::first_invalid_utf8(one).has_value();
    PRUNUS_CHECK(valid, InvalidArgument, "'", shown(one),
                 "' is not UTF-8; paths and texts are recorded in JSON, which must be: rename the "
                 "file, or make a link to it");
  }
}

}  // namespace

Parser::Parser(bool runs)
    : app_{"Prunus makes large language models smaller: fewer heads, channels and layers."} {
  app_.set_version_flag("--version", "prunus " PRUNUS_VERSION);
  app_.require_subcommand(1);
  for (const Command* command : commands::all()) {
    CLI::App* sub = app_.add_subcommand(std::string(command->name), std::string(command->summary));
    auto run = command->declare(*sub);
    // The command's options live as long as its callback.
    sub->callback([runs, run = std::move(run)] {
      if (runs) run();
    });
  }
  app_.footer(kFooter);  // last: a command takes over the footer that its program has by then
}

void Parser::parse(Arguments arguments) {
  check_utf8(arguments);
  arguments = with_help_as_option(std::move(arguments));
  if (!arguments.empty() && !is_option(arguments[0])) check_command(arguments[0]);
  Arguments reversed(arguments.rbegin(), arguments.rend());
  try {
    app_.parse(reversed);
  } catch (const CLI::Success&) {
    throw;
  } catch (const CLI::ParseError& error) {
    refuse(app_, arguments, error);
  }
}

}  // namespace prunus
