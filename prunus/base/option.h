#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

// One table a command: of each option the name, the member of the job, what values it takes, and
// what the help says. The command line, recipes (base/recipe.h), run.json's "options", the identity
// of a resumed run and docs/options.md are made from it.

/// What an option is to run.json and to a run that goes on where another stopped.
enum class Recorded {
  Identity,  ///< decides the result: recorded, and a resumed run must have the same
  Progress,  ///< recorded; a resumed run may change it (how fast and how far training goes)
  Yes,       ///< recorded: a path, of which the content is compared instead; the device
  No,        ///< not recorded: how the run goes about it, not what comes out
};

/// Values of a number: from `least` to `most`; `open` leaves that end out.
struct Range {
  double least = 0;
  double most = std::numeric_limits<double>::infinity();
  bool open_least = false;
  bool open_most = false;
};
constexpr Range kAboveZero{.open_least = true};
constexpr Range kPositive{.least = 1};
constexpr Range kShare{.most = 1, .open_most = true};  ///< [0, 1)
constexpr Range kFraction{.most = 1};                  ///< [0, 1]

/// What is known of an option without a job. Lists of names have commas between them.
struct OptionInfo {
  /// Name on the command line without its dashes. In a recipe '_' stands for '-'.
  const char* key = "";
  const char* group = "Options";  ///< heading in the help
  const char* help = "";
  std::string (*more_help)() = nullptr;    ///< what is known at run time only, after `help`
  Range range = {};                        ///< of numbers; counts go up to 2^40 at most
  const char* choices = "";                ///< of words: all there are; empty: any
  std::string (*all_choices)() = nullptr;  ///< the same, known at run time only
  const char* excludes = "";               ///< keys of options that cannot be given with it
  const char* also = "";                   ///< other names on the command line: "recipe", "q"
  const char* positional = "";             ///< name of an argument without dashes: "MODEL"
  /// Lists: what parts values in one argument. Words: what joins a recipe's list to one word.
  char separator = 0;
  bool one_argument = false;  ///< of a list: the option takes one argument each time it is named
  bool required = false;
  bool may_be_empty = false;     ///< of a word: '' is a value
  bool may_be_number = false;    ///< of a word: a recipe may write it without quotes
  bool recipe_only = false;      ///< not on the command line
  bool is_recipe = false;        ///< names the recipe itself: not in one
  bool default_in_help = false;  ///< the help says the default, which depends on other options
  Recorded recorded = Recorded::Identity;
  const char* record = "";  ///< name in run.json, "a.b" for b in a; empty: the recipe's name
};

/// A flag or a word whose member is of another type: an enumeration, a range, a device.
/// `where` names the option in messages, as the user wrote it.
template <typename Job>
struct FlagMember {
  void (*set)(Job& job, bool on);
  bool (*get)(const Job& job);
};
template <typename Job>
struct WordMember {
  void (*set)(Job& job, const std::string& text, const std::string& where);
  std::string (*get)(const Job& job);  ///< empty: not given
};

/// Where a job keeps an option's value; nowhere for what is only recorded.
template <typename Job>
using Member =
    std::variant<std::monostate, bool& (*)(Job&), int64_t& (*)(Job&), uint64_t& (*)(Job&),
                 double& (*)(Job&), std::string& (*)(Job&), std::optional<int64_t>& (*)(Job&),
                 std::optional<double>& (*)(Job&), std::vector<int64_t>& (*)(Job&),
                 std::vector<std::string>& (*)(Job&), FlagMember<Job>, WordMember<Job>>;

/// A member by its path from the job: PRUNUS_MEMBER(PruneJob, options.ratio).
#define PRUNUS_MEMBER(Job, path) \
  +[](Job & job) -> auto& {      \
    return job.path;             \
  }

/// A word: an enumeration by its parse and name functions.
#define PRUNUS_WORD(Job, path, parse, name)                                                     \
  ::prunus::WordMember<Job> {                                                                   \
    +[](Job& job, const std::string& text, const std::string&) { job.path = parse(text); },     \
        +[](const Job& job) { return ::prunus::option_detail::name_of_member(job.path, name); } \
  }

/// One row. `Resolved` is what a job's options become when all choices are made, where that is
/// another type; it gives the values of run.json.
template <typename Job, typename Resolved = Job>
struct Option {
  OptionInfo info;
  Member<Job> member = {};
  /// The value for run.json where it is not the member's.
  void (*resolved)(const Job& job, const Resolved& resolved, Json& value) = nullptr;
  bool (*when)(const Job& job) = nullptr;  ///< recorded only then; null: always
};

/// A value that was given, as on the command line; of a list several texts.
struct GivenValue {
  std::string key;
  std::vector<std::string> texts;  ///< of a flag "true" or "false"
  std::string where;               ///< "--ratio", or "recipe.toml:3:9: ratio"
};

/// All values that were given, each key once.
class Given {
 public:
  void add(GivenValue value) { values_.push_back(std::move(value)); }
  const GivenValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Of a flag.
  bool on(std::string_view key) const { return text(key) == "true"; }
  /// Its text; empty where it is not given.
  std::string text(std::string_view key) const;
  const std::vector<GivenValue>& values() const { return values_; }

 private:
  std::vector<GivenValue> values_;
};

template <typename Job, typename Resolved = Job>
struct OptionTable {
  std::string_view command;
  std::span<const Option<Job, Resolved>> options;
  Job (*fresh)();  ///< a job with every default
  /// Before values are set: defaults that depend on them, and what cannot be given together.
  void (*prepare)(Job& job, const Given& given) = nullptr;
  /// After that: defaults that depend on other values.
  void (*settle)(Job& job, const Given& given) = nullptr;
  /// Keys that a recipe may hold for the program and that a job has no place for.
  std::span<const char* const> others = {};
};

/// An option of one job, whatever the job's type.
struct BoundOption {
  struct Flag {
    std::function<void(bool)> set;
    std::function<bool()> get;
  };
  struct Text {
    std::function<void(const std::string& text, const std::string& where)> set;
    std::function<std::string()> get;
  };
  const OptionInfo* info = nullptr;
  std::variant<std::monostate, bool*, int64_t*, uint64_t*, double*, std::string*,
               std::optional<int64_t>*, std::optional<double>*, std::vector<int64_t>*,
               std::vector<std::string>*, Flag, Text>
      value = {};
};

enum class OptionKind { None, Flag, Whole, Seed, Real, Text, Wholes, Texts };

OptionKind kind_of(const BoundOption& option);

/// The name in a recipe: "attn_ratio".
std::string recipe_key(const OptionInfo& info);
/// Names in a list with commas.
std::vector<std::string> words_of(std::string_view list);
/// All words that it takes; none: any.
std::vector<std::string> choices_of(const OptionInfo& info);
std::string help_of(const OptionInfo& info);

/// "a whole number from 1 to 10000", "one of sum, mean", "true or false", "text".
std::string expected_of(const BoundOption& option);

/// Of numbers "[1, 10000]", "[0, 1)", "> 0", ">= 2"; empty: nothing is known beyond the kind.
std::string interval_of(const BoundOption& option);

/// What is wrong with one text of a value: "got '0', expected a whole number, 1 or more"; empty
/// where nothing is. (Words without a list of choices are judged by assign().)
std::string fault_of(const BoundOption& option, const std::string& text);

/// Sets the value. Throws InvalidArgument beginning with value.where.
void assign(const BoundOption& option, const GivenValue& value);

/// The value as on the command line; empty: not given, or no option.
std::string text_of(const BoundOption& option);

/// What `later` gives, and of `earlier` what `later` neither gives nor excludes.
Given override_by(const Given& earlier, const Given& later, std::span<const BoundOption> options);

/// Throws InvalidArgument naming two values that exclude each other.
void check_exclusions(const Given& given, std::span<const BoundOption> options);

namespace option_detail {

template <typename Value, typename Name>
std::string name_of_member(const Value& value, Name name) {
  return std::string(name(value));
}
template <typename Value, typename Name>
std::string name_of_member(const std::optional<Value>& value, Name name) {
  return value ? std::string(name(*value)) : std::string();
}

template <typename Job>
struct Binder {
  Job& job;
  BoundOption& bound;
  void operator()(std::monostate) const {}
  template <typename Value>
  void operator()(Value& (*member)(Job&)) const {
    bound.value = &member(job);
  }
  void operator()(FlagMember<Job> member) const {
    bound.value = BoundOption::Flag{[member, &job = job](bool on) { member.set(job, on); },
                                    [member, &job = job] { return member.get(job); }};
  }
  void operator()(WordMember<Job> member) const {
    bound.value =
        BoundOption::Text{[member, &job = job](const std::string& text, const std::string& where) {
                            member.set(job, text, where);
                          },
                          [member, &job = job] { return member.get(job); }};
  }
};

}  // namespace option_detail

/// The rows of a table, bound to a job that outlives them.
template <typename Job, typename Resolved>
std::vector<BoundOption> bind(const OptionTable<Job, Resolved>& table, Job& job) {
  std::vector<BoundOption> all;
  for (const Option<Job, Resolved>& option : table.options) {
    BoundOption bound{.info = &option.info};
    std::visit(option_detail::Binder<Job>{job, bound}, option.member);
    all.push_back(std::move(bound));
  }
  return all;
}

/// Sets all that is given. Keys of other tables are passed over.
/// Throws InvalidArgument naming the value as it was given.
template <typename Job, typename Resolved>
void fill(const OptionTable<Job, Resolved>& table, Job& job, const Given& given) {
  if (table.prepare != nullptr) table.prepare(job, given);
  for (const BoundOption& option : bind(table, job)) {
    if (const GivenValue* value = given.find(option.info->key)) assign(option, *value);
  }
  if (table.settle != nullptr) table.settle(job, given);
}

/// A row with its value for run.json.
struct RecordedOption {
  BoundOption option;
  std::function<void(Json& value)> resolved;  ///< empty: the option's own value
};

template <typename Job, typename Resolved>
std::vector<RecordedOption> recorded(const OptionTable<Job, Resolved>& table, const Job& job,
                                     const Resolved& resolved) {
  std::vector<RecordedOption> all;
  // Bound to be read alone.
  std::vector<BoundOption> bound = bind(table, const_cast<Job&>(job));
  for (size_t i = 0; i < bound.size(); ++i) {
    const Option<Job, Resolved>& option = table.options[i];
    if (option.when != nullptr && !option.when(job)) continue;
    RecordedOption one{.option = std::move(bound[i]), .resolved = {}};
    if (option.resolved != nullptr) {
      one.resolved = [&job, &resolved, value_of = option.resolved](Json& value) {
        value_of(job, resolved, value);
      };
    }
    all.push_back(std::move(one));
  }
  return all;
}

template <typename Job>
std::vector<RecordedOption> recorded(const OptionTable<Job>& table, const Job& job) {
  return recorded(table, job, job);
}

/// run.json's "options": every value in force but those of Recorded::No.
Json options_json(const std::vector<RecordedOption>& options);

/// The values that a resumed run must share, by their names in run.json, "a.b" as one key.
Json identity_json(const std::vector<RecordedOption>& options);

}  // namespace prunus
