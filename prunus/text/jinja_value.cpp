#include "prunus/text/jinja_value.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/text/jinja_strings.h"

namespace prunus::text::jinja {
namespace {

constexpr uint64_t kMostSteps = 5'000'000;
constexpr uint64_t kMostBytes = uint64_t{1} << 30;
constexpr int kMostDepth = 100;

int depth_with(const Value& item, int depth) {
  if (item.is(Value::Kind::Object)) {
    PRUNUS_FAULT(Unsupported, "a ", item.as_object().type(),
                 " inside a list or mapping is not supported");
  }
  const int whole = std::max(depth, item.depth() + 1);
  if (whole > kMostDepth) PRUNUS_FAULT(Corrupt, "lists nest deeper than ", kMostDepth);
  return whole;
}

bool same_entries(const Dict& left, const Dict& right) {
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    const Value* other = right.find(key);
    if (other == nullptr || !equal(value, *other)) return false;
  }
  return true;
}

}  // namespace

void Budget::step() {
  if (++steps_ > kMostSteps) {
    PRUNUS_FAULT(Corrupt, "the rendering takes more than ", kMostSteps, " steps");
  }
}

void Budget::bytes(size_t count) {
  bytes_ += count;
  if (bytes_ > kMostBytes) {
    PRUNUS_FAULT(Corrupt, "the rendering makes more than ", kMostBytes, " bytes of text");
  }
}

Value Value::undefined(std::string message) { return Value(Data(Undefined{std::move(message)})); }

Value Value::string(std::string value) {
  return Value(Data(std::make_shared<const std::string>(std::move(value))));
}

Value Value::list(Values items, bool tuple) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = depth_with(item, list->depth);
  list->items = std::move(items);
  list->tuple = tuple;
  return Value(Data(std::shared_ptr<const List>(std::move(list))));
}

Value Value::iterator(Values items) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = depth_with(item, list->depth);
  list->items = std::move(items);
  list->iterator = true;
  return Value(Data(std::shared_ptr<const List>(std::move(list))));
}

Value Value::dict(std::vector<std::pair<std::string, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  for (auto& [key, value] : entries) {
    dict->depth = depth_with(value, dict->depth);
    const auto same = std::find_if(dict->entries.begin(), dict->entries.end(),
                                   [&](const auto& entry) { return entry.first == key; });
    if (same == dict->entries.end()) {
      dict->entries.emplace_back(std::move(key), std::move(value));
    } else {
      same->second = std::move(value);
    }
  }
  return Value(Data(std::shared_ptr<const Dict>(std::move(dict))));
}

Value Value::of(const Json& json) {
  if (json.is_null()) return {};
  if (json.is_boolean()) return boolean(json.get<bool>());
  if (json.is_number_float()) return real(json.get<double>());
  if (json.is_string()) return string(json.get<std::string>());
  if (json.is_array()) {
    Values items;
    for (const Json& item : json) items.push_back(of(item));
    return list(std::move(items));
  }
  if (json.is_object()) {
    std::vector<std::pair<std::string, Value>> entries;
    for (const auto& [key, value] : json.items()) entries.emplace_back(key, of(value));
    return dict(std::move(entries));
  }
  if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX}) {
    PRUNUS_FAULT(Unsupported, "the integer ", json.dump(), " does not fit into 64 bits");
  }
  return integer(json.get<int64_t>());
}

int64_t Value::as_int() const { return is(Kind::Bool) ? as_bool() : std::get<int64_t>(data_); }

double Value::as_float() const {
  return is(Kind::Float) ? std::get<double>(data_) : static_cast<double>(as_int());
}

bool Value::truth() const {
  switch (kind()) {
    case Kind::Undefined:
    case Kind::None:
      return false;
    case Kind::Bool:
    case Kind::Int:
      return as_int() != 0;
    case Kind::Float:
      return as_float() != 0;
    case Kind::String:
      return !as_string().empty();
    case Kind::List:
      return as_list().iterator || !as_list().items.empty();
    case Kind::Dict:
      return !as_dict().entries.empty();
    case Kind::Object:
      return true;
  }
  return false;
}

std::string Value::type_name() const {
  switch (kind()) {
    case Kind::Undefined:
      return "undefined";
    case Kind::None:
      return "None";
    case Kind::Bool:
      return "bool";
    case Kind::Int:
      return "int";
    case Kind::Float:
      return "float";
    case Kind::String:
      return "str";
    case Kind::List:
      return as_list().iterator ? "iterator" : as_list().tuple ? "tuple" : "list";
    case Kind::Dict:
      return "dict";
    case Kind::Object:
      return std::string(as_object().type());
  }
  return "?";
}

int Value::depth() const {
  if (is(Kind::List)) return as_list().depth;
  return is(Kind::Dict) ? as_dict().depth : 0;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::optional<Value> Args::find(size_t at, std::string_view name) const {
  if (at < positional.size()) return positional[at];
  for (const auto& [given, value] : named) {
    if (given == name) return value;
  }
  return std::nullopt;
}

Value Args::get(size_t at, std::string_view name, Value otherwise) const {
  return find(at, name).value_or(std::move(otherwise));
}

Value Args::need(size_t at, std::string_view name) const {
  const auto found = find(at, name);
  if (!found) PRUNUS_FAULT(Corrupt, "argument '", name, "' is missing");
  return *found;
}

void Args::allow(std::initializer_list<std::string_view> names) const {
  if (positional.size() > names.size()) {
    PRUNUS_FAULT(Corrupt, "got ", positional.size(), " arguments, expected at most ", names.size());
  }
  for (const auto& [name, value] : named) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      PRUNUS_FAULT(Unsupported, "argument '", name, "' is not supported");
    }
  }
}

std::optional<Value> Namespace::attribute(const std::string& name) const {
  for (const auto& [key, value] : entries_) {
    if (key == name) return value;
  }
  return std::nullopt;
}

void Namespace::set(const std::string& name, Value value) {
  // Nothing that could hold this namespace again: it would never be freed.
  if (value.is(Value::Kind::Object)) {
    PRUNUS_FAULT(Unsupported, "a ", value.as_object().type(),
                 " inside a namespace is not supported");
  }
  for (auto& [key, old] : entries_) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  entries_.emplace_back(name, std::move(value));
}

Values iterate(const Value& value) {
  if (value.is(Value::Kind::Undefined)) return {};
  if (value.is(Value::Kind::List)) {
    const List& list = value.as_list();
    if (list.iterator && std::exchange(list.spent, true)) return {};
    return list.items;
  }
  Values items;
  if (value.is(Value::Kind::Dict)) {
    for (const auto& entry : value.as_dict().entries) items.push_back(Value::string(entry.first));
  } else if (value.is(Value::Kind::String)) {
    for (const std::string_view one : characters(value.as_string())) {
      items.push_back(Value::string(std::string(one)));
    }
  } else {
    PRUNUS_FAULT(Corrupt, "a ", value.type_name(), " cannot be walked over");
  }
  return items;
}

int64_t length_of(const Value& value) {
  if (value.is(Value::Kind::Undefined)) return 0;
  if (value.is(Value::Kind::String)) {
    return static_cast<int64_t>(characters(value.as_string()).size());
  }
  if (value.is(Value::Kind::Dict)) return static_cast<int64_t>(value.as_dict().entries.size());
  if (!value.is(Value::Kind::List) || value.as_list().iterator) {
    PRUNUS_FAULT(Corrupt, "a ", value.type_name(), " has no length");
  }
  return static_cast<int64_t>(value.as_list().items.size());
}

bool equal(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is_whole() && right.is_whole()) return left.as_int() == right.as_int();
    return left.as_float() == right.as_float();
  }
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Value::Kind::String:
      return left.as_string() == right.as_string();
    case Value::Kind::List: {
      const List& a = left.as_list();
      const List& b = right.as_list();
      if (a.iterator || b.iterator) return &a == &b;
      return a.tuple == b.tuple &&
             std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
    }
    case Value::Kind::Dict:
      return same_entries(left.as_dict(), right.as_dict());
    case Value::Kind::Object:
      return &left.as_object() == &right.as_object();
    default:
      return true;  // None and undefined
  }
}

bool less(const Value& left, const Value& right) {
  if (left.is_whole() && right.is_whole()) return left.as_int() < right.as_int();
  if (left.is_number() && right.is_number()) return left.as_float() < right.as_float();
  if (left.is(Value::Kind::String) && right.is(Value::Kind::String)) {
    return left.as_string() < right.as_string();
  }
  if (left.is(Value::Kind::List) && right.is(Value::Kind::List)) {
    const Values& a = left.as_list().items;
    const Values& b = right.as_list().items;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (!equal(a[i], b[i])) return less(a[i], b[i]);
    }
    return a.size() < b.size();
  }
  PRUNUS_FAULT(Corrupt, "a ", left.type_name(), " and a ", right.type_name(), " have no order");
}

bool contains(const Value& container, const Value& item) {
  if (container.is(Value::Kind::String)) {
    if (!item.is(Value::Kind::String)) {
      PRUNUS_FAULT(Corrupt, "a str holds only a str, got a ", item.type_name());
    }
    return container.as_string().find(item.as_string()) != std::string::npos;
  }
  if (container.is(Value::Kind::Dict)) {
    return item.is(Value::Kind::String) && container.as_dict().find(item.as_string()) != nullptr;
  }
  const Values items = iterate(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& one) { return equal(one, item); });
}

}  // namespace prunus::text::jinja
