// Filters of texts, numbers and single values.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

template <std::string (*change)(std::string_view)>
Value filtered(const Value& value, Args& args) {
  args.allow({});
  std::string result = change(str(value));
  args.budget.bytes(result.size());
  return Value::string(std::move(result));
}

std::string same(std::string_view text) { return std::string(text); }

Value trim(const Value& value, Args& args) {
  args.allow({"chars"});
  const Value chars = args.get(0, "chars", Value());
  const std::string set = str(chars);
  const std::string text = str(value);
  return Value::string(std::string(strip(text, Side::Both, chars.is(Kind::None) ? nullptr : &set)));
}

Value replace_filter(const Value& value, Args& args) {
  args.allow({"old", "new", "count"});
  const Value count = args.get(2, "count", Value());
  std::string result = replace(str(value), str(args.need(0, "old")), str(args.need(1, "new")),
                               count.is_whole() ? count.as_int() : -1);
  args.budget.bytes(result.size());
  return Value::string(std::move(result));
}

Value default_filter(const Value& value, Args& args) {
  args.allow({"default_value", "boolean"});
  const bool missing =
      value.is(Kind::Undefined) || (args.get(1, "boolean", Value()).truth() && !value.truth());
  return missing ? args.get(0, "default_value", Value::string("")) : value;
}

std::string spaces(const Value& width) {
  if (width.is(Kind::String)) return width.as_string();
  if (!width.is_whole()) PRUNUS_FAULT(Corrupt, "a width is a ", width.type_name());
  return std::string(static_cast<size_t>(std::clamp(width.as_int(), int64_t{0}, int64_t{1000})),
                     ' ');
}

Value indent(const Value& value, Args& args) {
  args.allow({"width", "first", "blank"});
  const std::string by = spaces(args.get(0, "width", Value::integer(4)));
  const bool blank = args.get(2, "blank", Value()).truth();
  std::string result = args.get(1, "first", Value()).truth() ? by : "";
  const auto lines = split_lines(str(value) + "\n");
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result.append("\n").append(blank || !lines[i].empty() ? by : "");
    result += lines[i];
    args.budget.bytes(by.size() + lines[i].size());
  }
  return Value::string(std::move(result));
}

// The separators of tojson: a pair of strings.
void set_separators(const Value& given, JsonStyle& style) {
  if (given.is(Kind::None)) return;
  if (!given.is(Kind::List) || given.as_list().items.size() != 2 ||
      !given.as_list().items[0].is(Kind::String) || !given.as_list().items[1].is(Kind::String)) {
    PRUNUS_FAULT(Corrupt, "separators: expected two strings");
  }
  style.item_separator = given.as_list().items[0].as_string();
  style.key_separator = given.as_list().items[1].as_string();
}

Value tojson(const Value& value, Args& args) {
  args.allow({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = args.get(0, "ensure_ascii", Value()).truth();
  const Value width = args.get(1, "indent", Value());
  if (!width.is(Kind::None)) {
    style.indent = spaces(width);
    style.item_separator = ",";
  }
  set_separators(args.get(2, "separators", Value()), style);
  style.sort_keys = args.get(3, "sort_keys", Value()).truth();
  std::string result = to_json(value, style);
  args.budget.bytes(result.size());
  return Value::string(std::move(result));
}

template <typename Number>
std::optional<Number> parsed(const std::string& text) {
  std::string_view rest = strip(text, Side::Both);
  if (rest.starts_with('+')) rest.remove_prefix(1);
  Number number = 0;
  const auto read = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (read.ec != std::errc() || read.ptr != rest.data() + rest.size()) return std::nullopt;
  return number;
}

std::optional<double> number_of(const Value& value) {
  if (value.is_number()) return value.as_float();
  return value.is(Kind::String) ? parsed<double>(value.as_string()) : std::nullopt;
}

Value int_filter(const Value& value, Args& args) {
  args.allow({"default"});
  if (value.is_whole()) return Value::integer(value.as_int());
  if (value.is(Kind::String)) {
    if (const auto whole = parsed<int64_t>(value.as_string())) return Value::integer(*whole);
  }
  const auto real = number_of(value);
  if (real && std::abs(*real) < 9e18) return Value::integer(static_cast<int64_t>(*real));
  return args.get(0, "default", Value::integer(0));
}

Value float_filter(const Value& value, Args& args) {
  args.allow({"default"});
  const auto real = number_of(value);
  return real ? Value::real(*real) : args.get(0, "default", Value::real(0));
}

Value absolute(const Value& value, Args& args) {
  args.allow({});
  if (value.is(Kind::Float)) return Value::real(std::abs(value.as_float()));
  if (!value.is_whole()) PRUNUS_FAULT(Corrupt, "got a ", value.type_name(), ", expected a number");
  return value.as_int() < 0 ? arithmetic("-", Value::integer(0), value, args.budget) : value;
}

Value round_filter(const Value& value, Args& args) {
  args.allow({"precision"});
  const Value precision = args.get(0, "precision", Value::integer(0));
  if (!value.is_number() || !precision.is_whole() || precision.as_int() < 0 ||
      precision.as_int() > 15) {
    PRUNUS_FAULT(Unsupported, "expected a number and a precision of 0 to 15");
  }
  if (value.is_whole()) return Value::integer(value.as_int());
  std::array<char, 400> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value.as_float(),
                                 std::chars_format::fixed, static_cast<int>(precision.as_int()));
  double rounded = 0;
  std::from_chars(text.data(), end.ptr, rounded);
  return Value::real(rounded);
}

Value length(const Value& value, Args& args) {
  args.allow({});
  return Value::integer(length_of(value));
}

const std::map<std::string_view, FilterCall>& filters() {
  static const std::map<std::string_view, FilterCall> all = {
      {"abs", absolute},
      {"capitalize", filtered<capitalize>},
      {"count", length},
      {"d", default_filter},
      {"default", default_filter},
      {"float", float_filter},
      {"indent", indent},
      {"int", int_filter},
      {"length", length},
      {"lower", filtered<lower>},
      {"replace", replace_filter},
      {"round", round_filter},
      {"safe", filtered<same>},
      {"string", filtered<same>},
      {"title", filtered<title_filter>},
      {"tojson", tojson},
      {"trim", trim},
      {"upper", filtered<upper>},
  };
  return all;
}

}  // namespace

FilterCall find_filter(std::string_view name) {
  const auto found = filters().find(name);
  return found != filters().end() ? found->second : find_list_filter(name);
}

}  // namespace prunus::text::jinja
