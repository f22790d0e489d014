// Methods of strings, lists and mappings.
#include <algorithm>
#include <map>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;
using Method = Value (*)(const Value& self, Args& args);

Value text(std::string_view content) { return Value::string(std::string(content)); }

std::string text_argument(const Args& args, size_t at, std::string_view name) {
  const Value value = args.need(at, name);
  if (!value.is(Kind::String)) {
    PRUNUS_FAULT(Corrupt, "argument '", name, "' is a ", value.type_name(), ", expected a str");
  }
  return value.as_string();
}

// None where the argument is missing or None.
std::optional<std::string> optional_text(const Args& args, size_t at, std::string_view name) {
  if (args.get(at, name, Value()).is(Kind::None)) return std::nullopt;
  return text_argument(args, at, name);
}

int64_t number(const Args& args, size_t at, std::string_view name, int64_t otherwise) {
  const Value value = args.get(at, name, Value::integer(otherwise));
  if (!value.is_whole()) {
    PRUNUS_FAULT(Corrupt, "argument '", name, "' is a ", value.type_name(), ", expected an int");
  }
  return value.as_int();
}

Value list_of(std::vector<std::string> texts, Args& args) {
  Values items;
  for (std::string& one : texts) items.push_back(Value::string(std::move(one)));
  args.budget.bytes(items.size() * 2 * sizeof(Value));
  return Value::list(std::move(items));
}

template <Side side>
Value strip_method(const Value& self, Args& args) {
  args.allow({"chars"});
  const auto chars = optional_text(args, 0, "chars");
  return text(strip(self.as_string(), side, chars ? &*chars : nullptr));
}

template <bool right>
Value split_method(const Value& self, Args& args) {
  args.allow({"sep", "maxsplit"});
  const auto separator = optional_text(args, 0, "sep");
  if (separator && separator->empty()) PRUNUS_FAULT(Corrupt, "empty separator");
  const int64_t most = number(args, 1, "maxsplit", -1);
  const std::string* by = separator ? &*separator : nullptr;
  return list_of(
      right ? split_right(self.as_string(), by, most) : split(self.as_string(), by, most), args);
}

template <bool end>
Value affix(const Value& self, Args& args) {
  args.allow({"affix"});
  const Value given = args.need(0, "affix");
  const bool several = given.is(Kind::List) && given.as_list().tuple;
  for (const Value& one : several ? given.as_list().items : Values{given}) {
    if (!one.is(Kind::String)) PRUNUS_FAULT(Corrupt, "got a ", one.type_name(), ", expected a str");
    const std::string& part = one.as_string();
    if (end ? self.as_string().ends_with(part) : self.as_string().starts_with(part)) {
      return Value::boolean(true);
    }
  }
  return Value::boolean(false);
}

template <bool end>
Value without_affix(const Value& self, Args& args) {
  args.allow({"affix"});
  const std::string part = text_argument(args, 0, "affix");
  std::string_view rest = self.as_string();
  if (end && rest.ends_with(part)) rest.remove_suffix(part.size());
  if (!end && rest.starts_with(part)) rest.remove_prefix(part.size());
  return text(rest);
}

template <std::string (*change)(std::string_view)>
Value changed(const Value& self, Args& args) {
  args.allow({});
  return Value::string(change(self.as_string()));
}

Value replace_method(const Value& self, Args& args) {
  args.allow({"old", "new", "count"});
  std::string result = replace(self.as_string(), text_argument(args, 0, "old"),
                               text_argument(args, 1, "new"), number(args, 2, "count", -1));
  args.budget.bytes(result.size());
  return Value::string(std::move(result));
}

template <bool last>
Value find_method(const Value& self, Args& args) {
  args.allow({"sub"});
  const std::string part = text_argument(args, 0, "sub");
  const std::string& all = self.as_string();
  const size_t at = last ? all.rfind(part) : all.find(part);
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(static_cast<int64_t>(characters(all.substr(0, at)).size()));
}

Value count_text(const Value& self, Args& args) {
  args.allow({"sub"});
  const std::string part = text_argument(args, 0, "sub");
  if (part.empty()) return Value::integer(length_of(self) + 1);
  return Value::integer(static_cast<int64_t>(split(self.as_string(), &part).size()) - 1);
}

Value lines_method(const Value& self, Args& args) {
  args.allow({"keepends"});
  return list_of(split_lines(self.as_string(), args.get(0, "keepends", Value()).truth()), args);
}

Value join_method(const Value& self, Args& args) {
  args.allow({"iterable"});
  std::string result;
  bool first = true;
  for (const Value& item : iterate(args.need(0, "iterable"))) {
    if (!item.is(Kind::String)) PRUNUS_FAULT(Corrupt, "join: got a ", item.type_name());
    if (!std::exchange(first, false)) result += self.as_string();
    result += item.as_string();
    args.budget.bytes(self.as_string().size() + item.as_string().size());
  }
  return Value::string(std::move(result));
}

template <bool last>
Value partition(const Value& self, Args& args) {
  args.allow({"sep"});
  const std::string by = text_argument(args, 0, "sep");
  if (by.empty()) PRUNUS_FAULT(Corrupt, "empty separator");
  const std::string& all = self.as_string();
  const size_t at = last ? all.rfind(by) : all.find(by);
  if (at == std::string::npos) {
    return Value::list(last ? Values{text(""), text(""), self} : Values{self, text(""), text("")},
                       true);
  }
  return Value::list({text(all.substr(0, at)), text(by), text(all.substr(at + by.size()))}, true);
}

template <bool (*is)(char)>
Value all_are(const Value& self, Args& args) {
  args.allow({});
  const std::string& all = self.as_string();
  for (const char c : all) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      PRUNUS_FAULT(Unsupported, "kinds of characters beyond ASCII are not supported");
    }
  }
  return Value::boolean(!all.empty() && std::all_of(all.begin(), all.end(), is));
}

bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
bool is_space(char c) { return is_python_space(static_cast<unsigned char>(c)); }

Value index_of(const Value& self, Args& args) {
  args.allow({"value"});
  const Values& items = self.as_list().items;
  const Value wanted = args.need(0, "value");
  const auto found = std::find_if(items.begin(), items.end(),
                                  [&](const Value& item) { return equal(item, wanted); });
  if (found == items.end()) PRUNUS_FAULT(Corrupt, "index: the list has no such item");
  return Value::integer(found - items.begin());
}

Value count_items(const Value& self, Args& args) {
  args.allow({"value"});
  const Values& items = self.as_list().items;
  const Value wanted = args.need(0, "value");
  return Value::integer(std::count_if(items.begin(), items.end(),
                                      [&](const Value& item) { return equal(item, wanted); }));
}

Value copy(const Value& self, Args& args) {
  args.allow({});
  return self;
}

Value items_method(const Value& self, Args& args) {
  args.allow({});
  Values items;
  for (const auto& [key, value] : self.as_dict().entries) {
    items.push_back(Value::list({text(key), value}, true));
  }
  return Value::list(std::move(items));
}

Value keys_method(const Value& self, Args& args) {
  args.allow({});
  return Value::list(iterate(self));
}

Value values_method(const Value& self, Args& args) {
  args.allow({});
  Values items;
  for (const auto& entry : self.as_dict().entries) items.push_back(entry.second);
  return Value::list(std::move(items));
}

Value get_method(const Value& self, Args& args) {
  args.allow({"key", "default"});
  const Value key = args.need(0, "key");
  const Value* found = key.is(Kind::String) ? self.as_dict().find(key.as_string()) : nullptr;
  return found != nullptr ? *found : args.get(1, "default", Value());
}

// nullptr: a method of Python that Prunus has not.
using Methods = std::map<std::string_view, Method>;

const Methods& string_methods() {
  static const Methods methods = {
      {"strip", strip_method<Side::Both>},
      {"lstrip", strip_method<Side::Left>},
      {"rstrip", strip_method<Side::Right>},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", lines_method},
      {"startswith", affix<false>},
      {"endswith", affix<true>},
      {"removeprefix", without_affix<false>},
      {"removesuffix", without_affix<true>},
      {"replace", replace_method},
      {"upper", changed<upper>},
      {"lower", changed<lower>},
      {"title", changed<title>},
      {"capitalize", changed<capitalize>},
      {"find", find_method<false>},
      {"rfind", find_method<true>},
      {"count", count_text},
      {"join", join_method},
      {"partition", partition<false>},
      {"rpartition", partition<true>},
      {"isdigit", all_are<is_digit>},
      {"isnumeric", all_are<is_digit>},
      {"isdecimal", all_are<is_digit>},
      {"isalpha", all_are<is_alpha>},
      {"isalnum", all_are<is_alnum>},
      {"isspace", all_are<is_space>},
  };
  return methods;
}

const Methods& list_methods() {
  static const Methods methods = {{"index", index_of}, {"count", count_items}, {"copy", copy}};
  return methods;
}

const Methods& dict_methods() {
  static const Methods methods = {{"items", items_method},
                                  {"keys", keys_method},
                                  {"values", values_method},
                                  {"get", get_method},
                                  {"copy", copy}};
  return methods;
}

// What Python has besides, in three kinds of values.
constexpr std::string_view kMoreOfStrings[] = {
    "casefold", "center",       "encode",   "expandtabs", "format",  "format_map", "index",
    "isascii",  "isidentifier", "islower",  "istitle",    "isupper", "ljust",      "maketrans",
    "rindex",   "rjust",        "swapcase", "translate",  "zfill",   "isprintable"};
constexpr std::string_view kMoreOfLists[] = {"append", "clear",   "extend", "insert",
                                             "pop",    "reverse", "remove", "sort"};
constexpr std::string_view kMoreOfDicts[] = {"clear",   "fromkeys",   "pop",
                                             "popitem", "setdefault", "update"};

template <size_t N>
void refuse(const std::string_view (&names)[N], const std::string& name, const Value& value) {
  if (std::find(std::begin(names), std::end(names), name) != std::end(names)) {
    PRUNUS_FAULT(Unsupported, "method '", name, "' of a ", value.type_name(), " is not supported");
  }
}

std::optional<Value> found_in(const Methods& methods, const Value& self, const std::string& name) {
  const auto found = methods.find(name);
  if (found == methods.end()) return std::nullopt;
  return Value::object(std::make_shared<Function>([self, name, call = found->second](Args& args) {
    try {
      return call(self, args);
    } catch (const Fault& fault) {
      throw Fault(fault.kind(), "method '" + name + "': " + fault.what());
    }
  }));
}

}  // namespace

std::optional<Value> method_of(const Value& value, const std::string& name) {
  if (value.is(Kind::String)) {
    refuse(kMoreOfStrings, name, value);
    return found_in(string_methods(), value, name);
  }
  if (value.is(Kind::Dict)) {
    refuse(kMoreOfDicts, name, value);
    return found_in(dict_methods(), value, name);
  }
  if (!value.is(Kind::List) || value.as_list().iterator) return std::nullopt;
  refuse(kMoreOfLists, name, value);
  return found_in(list_methods(), value, name);
}

}  // namespace prunus::text::jinja
