#include "prunus/base/recipe.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <toml++/toml.h>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/nearest.h"

namespace prunus {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 20;

// Those that take recipes.
constexpr std::string_view kRecipeCommands[] = {"prune", "apply", "recover", "merge",  "train",
                                                "eval",  "bench", "import",  "export", "verify"};

enum class Type { Truth, Whole, Real, Text, List, Table, Other };

// An entry of a recipe, whichever format it is in.
struct Entry {
  std::string key;
  std::string key_at;    // "recipe.toml:3:1: "
  std::string value_at;  // "recipe.toml:3:9: "
  Type type = Type::Other;
  std::string text;           // of Truth, Whole, Real, Text
  std::vector<Entry> inside;  // of List, Table
};

const char* name_of(Type type) {
  switch (type) {
    case Type::Truth:
      return "true or false";
    case Type::Whole:
      return "a whole number";
    case Type::Real:
      return "a number with a fraction";
    case Type::Text:
      return "text";
    case Type::List:
      return "a list";
    case Type::Table:
      return "a table";
    case Type::Other:
      break;
  }
  return "a value that no option has";
}

// The shortest text that gives the same number again.
template <typename Number>
std::string number_text(Number number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

std::string truth_text(bool truth) { return truth ? "true" : "false"; }

std::string place(const std::string& path, const toml::source_region& region) {
  return c10::str(path, ":", region.begin.line, ":", region.begin.column, ": ");
}

Entry entry_of(const std::string& path, const toml::node& node) {
  Entry entry;
  entry.value_at = entry.key_at = place(path, node.source());
  if (const auto* truth = node.as_boolean()) {
    entry.type = Type::Truth;
    entry.text = truth_text(truth->get());
  } else if (const auto* whole = node.as_integer()) {
    entry.type = Type::Whole;
    entry.text = number_text(whole->get());
  } else if (const auto* real = node.as_floating_point()) {
    entry.type = Type::Real;
    entry.text = number_text(real->get());
  } else if (const auto* text = node.as_string()) {
    entry.type = Type::Text;
    entry.text = text->get();
  } else if (const auto* list = node.as_array()) {
    entry.type = Type::List;
    for (const toml::node& one : *list) entry.inside.push_back(entry_of(path, one));
  } else if (const auto* table = node.as_table()) {
    entry.type = Type::Table;
    for (const auto& [key, value] : *table) {
      entry.inside.push_back(entry_of(path, value));
      entry.inside.back().key = key.str();
      entry.inside.back().key_at = place(path, key.source());
    }
  }
  return entry;
}

Entry entry_of(const std::string& where, const Json& json) {
  Entry entry;
  entry.value_at = entry.key_at = where + ": ";
  if (json.is_boolean()) {
    entry.type = Type::Truth;
    entry.text = truth_text(json.get<bool>());
  } else if (json.is_number_integer()) {
    entry.type = Type::Whole;
    entry.text = json.dump();
  } else if (json.is_number_float()) {
    entry.type = Type::Real;
    entry.text = number_text(json.get<double>());
  } else if (json.is_string()) {
    entry.type = Type::Text;
    entry.text = json.get<std::string>();
  } else if (json.is_array()) {
    entry.type = Type::List;
    for (const Json& one : json) entry.inside.push_back(entry_of(where, one));
  } else if (json.is_object()) {
    entry.type = Type::Table;
    for (const auto& [key, value] : json.items()) {
      entry.inside.push_back(entry_of(where, value));
      entry.inside.back().key = key;
    }
  }
  return entry;
}

Entry read_file_entry(const std::string& path) {
  if (path.ends_with(".json")) {
    const Json json = read_json(path, kMostBytes);
    PRUNUS_CHECK(json.is_object(), Corrupt, path, ": not a JSON object");
    return entry_of(path, json);
  }
  const std::string text = read_file(path, kMostBytes);
  try {
    return entry_of(path, toml::parse(text, path));
  } catch (const toml::parse_error& error) {
    PRUNUS_FAIL(Corrupt, place(path, error.source()), "no TOML: ", error.description());
  }
}

bool fits(const Entry& entry, const BoundOption& option) {
  switch (kind_of(option)) {
    case OptionKind::Flag:
      return entry.type == Type::Truth;
    case OptionKind::Whole:
    case OptionKind::Wholes:
    case OptionKind::Seed:
      return entry.type == Type::Whole;
    case OptionKind::Real:
      return entry.type == Type::Whole || entry.type == Type::Real;
    case OptionKind::Text:
    case OptionKind::Texts:
      return entry.type == Type::Text || (entry.type == Type::Whole && option.info->may_be_number);
    case OptionKind::None:
      break;
  }
  return false;
}

// Reads the entries that are of one command.
class Reader {
 public:
  Reader(std::string_view command, std::span<const BoundOption> options,
         std::span<const char* const> others)
      : command_(command), options_(options), others_(others) {}

  void read(const Entry& file) {
    for (const Entry& one : file.inside) {
      if (one.key == command_) take_table(one);
    }
    for (const Entry& one : file.inside) {
      if (!is_command(one.key)) take(one);
    }
    check_exclusions(given_, options_);
  }

  Given given() && { return std::move(given_); }

 private:
  static bool is_command(const std::string& key) {
    return std::find(std::begin(kRecipeCommands), std::end(kRecipeCommands), key) !=
           std::end(kRecipeCommands);
  }

  void take_table(const Entry& table) {
    PRUNUS_CHECK(table.type == Type::Table, InvalidArgument, table.value_at, table.key, ": got ",
                 name_of(table.type), ", expected a table with the options of `prunus ", command_,
                 "`");
    for (const Entry& one : table.inside) take(one);
  }

  // What stands there already is of the command's own table.
  void take(const Entry& entry) {
    const BoundOption* option = find(entry);
    if (option == nullptr || given_.has(option->info->key)) return;
    GivenValue value{option->info->key, texts_of(entry, *option), entry.value_at + entry.key};
    check(*option, value);
    given_.add(std::move(value));
  }

  // Null for a key of the program.
  const BoundOption* find(const Entry& entry) const {
    std::vector<std::string> known(others_.begin(), others_.end());
    for (const std::string& other : known) {
      if (other == entry.key) return nullptr;
    }
    for (const BoundOption& option : options_) {
      if (option.info->is_recipe || kind_of(option) == OptionKind::None) continue;
      known.push_back(recipe_key(*option.info));
      if (known.back() == entry.key) return &option;
    }
    PRUNUS_FAIL(InvalidArgument, entry.key_at, entry.key, ": `prunus ", command_,
                "` has no such option", did_you_mean(entry.key, known),
                "; docs/options.md lists them");
  }

  // A list is several values, or one word with a separator inside.
  std::vector<std::string> texts_of(const Entry& entry, const BoundOption& option) const {
    const OptionKind kind = kind_of(option);
    const bool list = kind == OptionKind::Wholes || kind == OptionKind::Texts;
    const bool joins = kind == OptionKind::Text && option.info->separator != 0;
    std::vector<std::string> texts;
    if (entry.type == Type::List && (list || joins)) {
      for (const Entry& one : entry.inside) texts.push_back(text_of(one, entry, option));
    } else {
      texts.push_back(text_of(entry, entry, option));
    }
    PRUNUS_CHECK(!texts.empty(), InvalidArgument, entry.value_at, entry.key,
                 ": got an empty list, expected ", expected_of(option));
    return joins ? std::vector<std::string>{join(texts, option.info->separator)} : texts;
  }

  static std::string text_of(const Entry& value, const Entry& entry, const BoundOption& option) {
    PRUNUS_CHECK(fits(value, option), InvalidArgument, value.value_at, entry.key, ": got ",
                 name_of(value.type), ", expected ", expected_of(option));
    return value.text;
  }

  static std::string join(const std::vector<std::string>& texts, char separator) {
    std::string all = texts[0];
    for (size_t i = 1; i < texts.size(); ++i) all += separator + texts[i];
    return all;
  }

  static void check(const BoundOption& option, const GivenValue& value) {
    for (const std::string& text : value.texts) {
      const std::string fault = fault_of(option, text);
      PRUNUS_CHECK(fault.empty(), InvalidArgument, value.where, ": ", fault);
    }
  }

  std::string_view command_;
  std::span<const BoundOption> options_;
  std::span<const char* const> others_;
  Given given_;
};

}  // namespace

Given read_given(const std::string& path, std::string_view command,
                 std::span<const BoundOption> options, std::span<const char* const> others) {
  Reader reader(command, options, others);
  reader.read(read_file_entry(path));
  Given given = std::move(reader).given();
  for (const BoundOption& option : options) {
    if (option.info->is_recipe) given.add({option.info->key, {path}, path});
  }
  return given;
}

}  // namespace prunus
