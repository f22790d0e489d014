#include "prunus/base/option.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"

namespace prunus {
namespace {

constexpr double kMostCount = 0x1p40;
constexpr size_t kMostShown = 100;  // characters of a value in a message

// A whole text was hardly meant as one value.
std::string shown(const std::string& value) {
  std::string text = value.substr(0, kMostShown);
  if (value.size() > kMostShown) text += "...";
  return text;
}

template <typename Number>
std::optional<Number> read_as(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

bool holds(const Range& range, double value) {
  const bool above = range.open_least ? value > range.least : value >= range.least;
  const bool below = range.open_most ? value < range.most : value <= range.most;
  return above && below;
}

bool is_list(OptionKind kind) { return kind == OptionKind::Wholes || kind == OptionKind::Texts; }

bool is_number(OptionKind kind) {
  return kind == OptionKind::Whole || kind == OptionKind::Wholes || kind == OptionKind::Real;
}

Range range_of(const BoundOption& option) {
  Range range = option.info->range;
  if (kind_of(option) != OptionKind::Real) range.most = std::min(range.most, kMostCount);
  return range;
}

// Numbers as people write them: 0.25, 10000, 1099511627776.
std::string number_text(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general);
  std::string result(text, end.ptr);
  if (std::floor(value) != value || std::abs(value) > 0x1p53) return result;
  return std::to_string(static_cast<int64_t>(value));
}

std::string range_text(const Range& range) {
  const std::string least = number_text(range.least);
  if (!std::isfinite(range.most)) {
    return range.open_least ? " above " + least : ", " + least + " or more";
  }
  std::string text = " from " + least + " to " + number_text(range.most);
  if (range.open_least) text += ", " + least + " not included";
  if (range.open_most) text += ", " + number_text(range.most) + " not included";
  return text;
}

bool is_number_in_range(const BoundOption& option, const std::string& text) {
  if (kind_of(option) == OptionKind::Real) {
    const auto number = read_as<double>(text);
    return number && std::isfinite(*number) && !std::signbit(*number) &&
           holds(option.info->range, *number);
  }
  const auto number = read_as<uint64_t>(text);
  return number && holds(range_of(option), static_cast<double>(*number));
}

template <typename Number>
Number number_of(const std::string& text) {
  return read_as<Number>(text).value();  // fault_of() has looked at it
}

// Takes the texts of a value, which have no fault.
struct Setter {
  const GivenValue& given;
  const std::string& text() const { return given.texts.at(0); }

  void operator()(std::monostate) const {}
  void operator()(bool* value) const { *value = text() == "true"; }
  void operator()(std::string* value) const { *value = text(); }
  template <typename Number>
  void operator()(Number* value) const {
    *value = number_of<Number>(text());
  }
  template <typename Number>
  void operator()(std::optional<Number>* value) const {
    *value = number_of<Number>(text());
  }
  void operator()(std::vector<int64_t>* value) const {
    value->clear();
    for (const std::string& one : given.texts) value->push_back(number_of<int64_t>(one));
  }
  void operator()(std::vector<std::string>* value) const { *value = given.texts; }
  void operator()(const BoundOption::Flag& value) const { value.set(text() == "true"); }
  void operator()(const BoundOption::Text& value) const { value.set(text(), given.where); }
};

struct ValueText {
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::string* value) const { return *value; }
  std::string operator()(const double* value) const { return number_text(*value); }
  template <typename Number>
  std::string operator()(const Number* value) const {
    return std::to_string(*value);
  }
  template <typename Number>
  std::string operator()(const std::optional<Number>* value) const {
    return *value ? (*this)(&**value) : "";
  }
  template <typename Value>
  std::string operator()(const std::vector<Value>* value) const {
    std::string text;
    for (const Value& one : *value) text += (text.empty() ? "" : ",") + (*this)(&one);
    return text;
  }
  std::string operator()(const BoundOption::Flag& value) const {
    return value.get() ? "true" : "false";
  }
  std::string operator()(const BoundOption::Text& value) const { return value.get(); }
};

struct ValueJson {
  Json operator()(std::monostate) const { return nullptr; }
  template <typename Value>
  Json operator()(const Value* value) const {
    return *value;
  }
  template <typename Number>
  Json operator()(const std::optional<Number>* value) const {
    return *value ? Json(**value) : Json(nullptr);
  }
  Json operator()(const BoundOption::Flag& value) const { return value.get(); }
  Json operator()(const BoundOption::Text& value) const { return value.get(); }
};

std::string record_name(const OptionInfo& info) {
  return *info.record != '\0' ? info.record : recipe_key(info);
}

Json value_json(const RecordedOption& one) {
  Json value;
  if (one.resolved) {
    one.resolved(value);
    return value;
  }
  return std::visit(ValueJson{}, one.option.value);
}

bool excludes(const OptionInfo& info, std::string_view key) {
  const std::vector<std::string> keys = words_of(info.excludes);
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Whether one of the two says that it cannot be given with the other.
bool exclude_each_other(std::string_view one, std::string_view other,
                        std::span<const BoundOption> options) {
  for (const BoundOption& option : options) {
    if (option.info->key == one && excludes(*option.info, other)) return true;
    if (option.info->key == other && excludes(*option.info, one)) return true;
  }
  return false;
}

}  // namespace

const GivenValue* Given::find(std::string_view key) const {
  const auto found = std::find_if(values_.begin(), values_.end(),
                                  [&](const GivenValue& one) { return one.key == key; });
  return found == values_.end() ? nullptr : &*found;
}

std::string Given::text(std::string_view key) const {
  const GivenValue* value = find(key);
  return value == nullptr || value->texts.empty() ? "" : value->texts[0];
}

OptionKind kind_of(const BoundOption& option) {
  // In the order of BoundOption::value.
  constexpr OptionKind kKinds[] = {OptionKind::None,  OptionKind::Flag, OptionKind::Whole,
                                   OptionKind::Seed,  OptionKind::Real, OptionKind::Text,
                                   OptionKind::Whole, OptionKind::Real, OptionKind::Wholes,
                                   OptionKind::Texts, OptionKind::Flag, OptionKind::Text};
  return kKinds[option.value.index()];
}

std::string recipe_key(const OptionInfo& info) {
  std::string key = info.key;
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

std::vector<std::string> words_of(std::string_view list) {
  std::vector<std::string> words;
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    words.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return words;
}

std::vector<std::string> choices_of(const OptionInfo& info) {
  return words_of(info.all_choices != nullptr ? info.all_choices() : info.choices);
}

std::string help_of(const OptionInfo& info) {
  return info.help + (info.more_help != nullptr ? info.more_help() : "");
}

std::string expected_of(const BoundOption& option) {
  const OptionKind kind = kind_of(option);
  const std::string whole = "a whole number" + range_text(range_of(option));
  switch (kind) {
    case OptionKind::None:
      return "nothing";
    case OptionKind::Flag:
      return "true or false";
    case OptionKind::Whole:
      return whole;
    case OptionKind::Wholes:
      return "a list, each " + whole;
    case OptionKind::Seed:
      return "a whole number from 0 to " + std::to_string(std::numeric_limits<uint64_t>::max());
    case OptionKind::Real:
      return "a number" + range_text(range_of(option));
    case OptionKind::Texts:
      return "a list of texts";
    case OptionKind::Text:
      break;
  }
  std::string words;
  for (const std::string& one : choices_of(*option.info))
    words += (words.empty() ? "" : ", ") + one;
  return words.empty() ? "text" : "one of " + words;
}

std::string interval_of(const BoundOption& option) {
  const OptionKind kind = kind_of(option);
  if (!is_number(kind)) return "";
  const Range& range = option.info->range;
  const std::string least = number_text(range.least);
  if (std::isfinite(range.most)) {
    return (range.open_least ? "(" : "[") + least + ", " + number_text(range.most) +
           (range.open_most ? ")" : "]");
  }
  if (range.open_least) return "> " + least;
  return range.least == 0 ? "" : ">= " + least;
}

std::string fault_of(const BoundOption& option, const std::string& text) {
  const OptionKind kind = kind_of(option);
  const auto got = [&] {
    return c10::str("got '", shown(text), "', expected ", expected_of(option));
  };
  if (kind == OptionKind::Flag) return text == "true" || text == "false" ? "" : got();
  if (kind == OptionKind::Seed) return read_as<uint64_t>(text) ? "" : got();
  if (is_number(kind)) return is_number_in_range(option, text) ? "" : got();
  if (text.empty()) return option.info->may_be_empty ? "" : "got nothing ('')";
  const std::vector<std::string> choices = choices_of(*option.info);
  const bool known =
      choices.empty() || std::find(choices.begin(), choices.end(), text) != choices.end();
  return known ? "" : unknown_word(shown(text), choices);
}

void assign(const BoundOption& option, const GivenValue& value) {
  const bool one = value.texts.size() == 1;
  PRUNUS_CHECK(one || (is_list(kind_of(option)) && !value.texts.empty()), InvalidArgument,
               value.where, ": got ", value.texts.size(), " values, expected ",
               expected_of(option));
  for (const std::string& text : value.texts) {
    const std::string fault = fault_of(option, text);
    PRUNUS_CHECK(fault.empty(), InvalidArgument, value.where, ": ", fault);
  }
  std::visit(Setter{value}, option.value);
}

std::string text_of(const BoundOption& option) { return std::visit(ValueText{}, option.value); }

Given override_by(const Given& earlier, const Given& later, std::span<const BoundOption> options) {
  Given all = later;
  for (const GivenValue& value : earlier.values()) {
    const bool stays =
        std::none_of(later.values().begin(), later.values().end(), [&](const GivenValue& other) {
          return other.key == value.key || exclude_each_other(other.key, value.key, options);
        });
    if (stays) all.add(value);
  }
  return all;
}

void check_exclusions(const Given& given, std::span<const BoundOption> options) {
  for (const GivenValue& one : given.values()) {
    for (const GivenValue& other : given.values()) {
      const bool clash = &one < &other && exclude_each_other(one.key, other.key, options);
      PRUNUS_CHECK(!clash, InvalidArgument, one.where, ": cannot be given together with ",
                   other.where);
    }
  }
}

Json options_json(const std::vector<RecordedOption>& options) {
  Json json = Json::object();
  for (const RecordedOption& one : options) {
    if (one.option.info->recorded == Recorded::No) continue;
    const std::string name = record_name(*one.option.info);
    Json* place = &json;
    size_t begin = 0;
    for (size_t dot; (dot = name.find('.', begin)) != name.npos; begin = dot + 1) {
      place = &(*place)[name.substr(begin, dot - begin)];
    }
    (*place)[name.substr(begin)] = value_json(one);
  }
  return json;
}

Json identity_json(const std::vector<RecordedOption>& options) {
  Json json = Json::object();
  for (const RecordedOption& one : options) {
    if (one.option.info->recorded == Recorded::Identity) {
      json[record_name(*one.option.info)] = value_json(one);
    }
  }
  return json;
}

}  // namespace prunus
