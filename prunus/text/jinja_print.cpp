// How values become text: Python's str() and repr(), and json.dumps.
#include <algorithm>
#include <cmath>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

std::string joined(const Values& items) {
  std::string text;
  for (const Value& item : items) text.append(text.empty() ? "" : ", ").append(repr(item));
  return text;
}

std::string repr_list(const List& list) {
  if (!list.tuple) return "[" + joined(list.items) + "]";
  return "(" + joined(list.items) + (list.items.size() == 1 ? ",)" : ")");
}

std::string repr_dict(const Dict& dict) {
  std::string text;
  for (const auto& [key, value] : dict.entries) {
    text.append(text.empty() ? "" : ", ")
        .append(python_quoted(key))
        .append(": ")
        .append(repr(value));
  }
  return "{" + text + "}";
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  std::string text;

  void write(const Value& value, int level) {
    switch (value.kind()) {
      case Kind::None:
        text += "null";
        return;
      case Kind::Bool:
        text += value.as_bool() ? "true" : "false";
        return;
      case Kind::Float:
        text += number(value.as_float());
        return;
      case Kind::Int:
        text += std::to_string(value.as_int());
        return;
      case Kind::String:
        text += json_string(value.as_string(), style_.ensure_ascii);
        return;
      case Kind::List:
        if (value.as_list().iterator) break;
        write_list(value.as_list(), level);
        return;
      case Kind::Dict:
        write_dict(value.as_dict(), level);
        return;
      default:
        break;
    }
    PRUNUS_FAULT(Corrupt, "tojson: a value of type ", value.type_name(), " cannot be JSON");
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return print_float(value);
  }

  void line(int level) {
    if (!style_.indent) return;
    text += '\n';
    for (int i = 0; i < level; ++i) text += *style_.indent;
  }

  void write_list(const List& list, int level) {
    text += '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) text += style_.item_separator;
      line(level + 1);
      write(list.items[i], level + 1);
    }
    if (!list.items.empty()) line(level);
    text += ']';
  }

  void write_dict(const Dict& dict, int level) {
    std::vector<const std::pair<std::string, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::sort(entries.begin(), entries.end(),
                [](const auto* a, const auto* b) { return a->first < b->first; });
    }
    text += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) text += style_.item_separator;
      line(level + 1);
      text += json_string(entries[i]->first, style_.ensure_ascii) + style_.key_separator;
      write(entries[i]->second, level + 1);
    }
    if (!entries.empty()) line(level);
    text += '}';
  }

  const JsonStyle& style_;
};

}  // namespace

std::string repr(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined:
      return "Undefined";
    case Kind::None:
      return "None";
    case Kind::Bool:
      return value.as_bool() ? "True" : "False";
    case Kind::Int:
      return std::to_string(value.as_int());
    case Kind::Float:
      return print_float(value.as_float());
    case Kind::String:
      return python_quoted(value.as_string());
    case Kind::Dict:
      return repr_dict(value.as_dict());
    case Kind::List:
      if (!value.as_list().iterator) return repr_list(value.as_list());
      break;
    case Kind::Object:
      break;
  }
  PRUNUS_FAULT(Corrupt, "a ", value.type_name(), " cannot be printed");
}

std::string str(const Value& value) {
  if (value.is(Kind::Undefined)) return "";
  return value.is(Kind::String) ? value.as_string() : repr(value);
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return std::move(writer.text);
}

}  // namespace prunus::text::jinja
