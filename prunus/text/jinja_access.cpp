// Attributes, items, slices and operators of values.
#include <algorithm>
#include <cmath>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

constexpr size_t kMostString = size_t{64} << 20;

void check_defined(const Value& value, const std::string& what) {
  if (value.is(Kind::Undefined)) {
    PRUNUS_FAULT(Corrupt, value.undefined_message(), " (asked for ", what, ")");
  }
}

// Where an index counts from the end; nothing where it is outside.
std::optional<size_t> place(int64_t index, size_t size) {
  const auto count = static_cast<int64_t>(size);
  const int64_t at = index < 0 ? index + count : index;
  if (at < 0 || at >= count) return std::nullopt;
  return static_cast<size_t>(at);
}

std::optional<Value> element(const Value& value, const Value& key) {
  if (value.is(Kind::Dict)) {
    const Value* found = key.is(Kind::String) ? value.as_dict().find(key.as_string()) : nullptr;
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (!key.is_whole()) return std::nullopt;
  if (value.is(Kind::String)) {
    const auto all = characters(value.as_string());
    const auto at = place(key.as_int(), all.size());
    if (!at) return std::nullopt;
    return Value::string(std::string(all[*at]));
  }
  if (!value.is(Kind::List) || value.as_list().iterator) return std::nullopt;
  const Values& items = value.as_list().items;
  const auto at = place(key.as_int(), items.size());
  return at ? std::optional<Value>(items[*at]) : std::nullopt;
}

std::optional<Value> member(const Value& value, const std::string& name) {
  if (value.is(Kind::Object)) return value.as_object().attribute(name);
  return method_of(value, name);
}

Value missing(const Value& value, const std::string& what) {
  return Value::undefined(c10::str("a value of type ", value.type_name(), " has no ", what));
}

// Python's indices of a slice.
std::vector<size_t> slice_places(size_t size, const Value& start, const Value& stop, int64_t step) {
  const auto count = static_cast<int64_t>(size);
  const int64_t low = step > 0 ? 0 : -1;
  const int64_t high = step > 0 ? count : count - 1;
  const auto bound = [&](const Value& given, int64_t otherwise) {
    if (given.is(Kind::None)) return otherwise;
    if (!given.is_whole()) PRUNUS_FAULT(Corrupt, "a slice bound is a ", given.type_name());
    const int64_t at = given.as_int();
    return std::clamp(at < 0 ? at + count : at, low, high);
  };
  const int64_t begin = bound(start, step > 0 ? low : high);
  const int64_t end = bound(stop, step > 0 ? high : low);
  std::vector<size_t> places;
  const int64_t by = std::clamp(step, -count - 1, count + 1);  // more would overflow
  for (int64_t at = begin; by > 0 ? at < end : at > end; at += by) {
    places.push_back(static_cast<size_t>(at));
  }
  return places;
}

[[noreturn]] void no_operator(const std::string& op, const Value& left, const Value& right) {
  for (const Value& value : {left, right}) check_defined(value, "operator " + op);
  PRUNUS_FAULT(Corrupt, "operator ", op, " between a ", left.type_name(), " and a ",
               right.type_name());
}

Value repeat(const Value& value, int64_t times, Budget& budget) {
  const size_t size = value.is(Kind::String) ? value.as_string().size()
                                             : value.as_list().items.size() * sizeof(Value);
  const auto count = static_cast<size_t>(std::max(times, int64_t{0}));
  if (size != 0 && count > kMostString / size) PRUNUS_FAULT(Corrupt, "operator *: result too long");
  budget.bytes(size * count);
  if (value.is(Kind::String)) {
    std::string text;
    for (size_t i = 0; i < count && size != 0; ++i) text += value.as_string();
    return Value::string(std::move(text));
  }
  Values items;
  for (size_t i = 0; i < count && size != 0; ++i) {
    items.insert(items.end(), value.as_list().items.begin(), value.as_list().items.end());
  }
  return Value::list(std::move(items), value.as_list().tuple);
}

std::optional<Value> sequences(const std::string& op, const Value& left, const Value& right,
                               Budget& budget) {
  const auto is_list = [](const Value& value) {
    return value.is(Kind::List) && !value.as_list().iterator;
  };
  if (op == "+" && left.is(Kind::String) && right.is(Kind::String)) {
    budget.bytes(left.as_string().size() + right.as_string().size());
    return Value::string(left.as_string() + right.as_string());
  }
  if (op == "+" && is_list(left) && is_list(right) &&
      left.as_list().tuple == right.as_list().tuple) {
    Values items = left.as_list().items;
    const Values& more = right.as_list().items;
    items.insert(items.end(), more.begin(), more.end());
    budget.bytes(items.size() * sizeof(Value));
    return Value::list(std::move(items), left.as_list().tuple);
  }
  const auto repeats = [&](const Value& value) { return value.is(Kind::String) || is_list(value); };
  if (op == "*" && repeats(left) && right.is_whole()) return repeat(left, right.as_int(), budget);
  if (op == "*" && repeats(right) && left.is_whole()) return repeat(right, left.as_int(), budget);
  return std::nullopt;
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) {
      PRUNUS_FAULT(Unsupported, "operator **: the result does not fit into 64 bits");
    }
    if (result == base && i > 0) break;  // 0 and 1
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  }
  return result;
}

Value whole(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool over = false;
  if (op == "+") over = __builtin_add_overflow(a, b, &result);
  if (op == "-") over = __builtin_sub_overflow(a, b, &result);
  if (op == "*") over = __builtin_mul_overflow(a, b, &result);
  if (op == "**") result = power(a, b);
  if (op == "//" || op == "%") {
    if (b == 0) PRUNUS_FAULT(Corrupt, "operator ", op, ": division by zero");
    over = b == -1 && a == INT64_MIN;
    if (!over) {
      const int64_t rest = a % b;
      const bool below = rest != 0 && (rest < 0) != (b < 0);
      result = op == "%" ? rest + (below ? b : 0) : a / b - (below ? 1 : 0);
    }
  }
  if (over) PRUNUS_FAULT(Unsupported, "operator ", op, ": the result does not fit into 64 bits");
  return Value::integer(result);
}

Value floating(const std::string& op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (op == "**") return Value::real(std::pow(a, b));
  if (b == 0) PRUNUS_FAULT(Corrupt, "operator ", op, ": division by zero");
  if (op == "/") return Value::real(a / b);
  if (op == "//") return Value::real(std::floor(a / b));
  const double rest = std::fmod(a, b);
  return Value::real(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

}  // namespace

Value attribute_of(const Value& value, const std::string& name) {
  check_defined(value, "attribute '" + name + "'");
  if (const auto found = member(value, name)) return *found;
  if (const auto found = element(value, Value::string(name))) return *found;
  return missing(value, "attribute '" + name + "'");
}

Value item_of(const Value& value, const Value& key) {
  check_defined(value, "an item");
  if (const auto found = element(value, key)) return *found;
  if (key.is(Kind::String)) {
    if (const auto found = member(value, key.as_string())) return *found;
  }
  return missing(value, "item " + repr(key));
}

Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step) {
  check_defined(value, "a slice");
  const int64_t by = step.is(Kind::None) ? 1 : step.is_whole() ? step.as_int() : 0;
  if (by == 0) PRUNUS_FAULT(Corrupt, "a slice's step is not a whole number other than 0");
  if (value.is(Kind::String)) {
    const auto all = characters(value.as_string());
    std::string text;
    for (const size_t at : slice_places(all.size(), start, stop, by)) text += all[at];
    return Value::string(std::move(text));
  }
  if (!value.is(Kind::List) || value.as_list().iterator) return missing(value, "slices");
  Values items;
  for (const size_t at : slice_places(value.as_list().items.size(), start, stop, by)) {
    items.push_back(value.as_list().items[at]);
  }
  return Value::list(std::move(items), value.as_list().tuple);
}

Value arithmetic(const std::string& op, const Value& left, const Value& right, Budget& budget) {
  if (auto result = sequences(op, left, right, budget)) return *result;
  if (op == "%" && left.is(Kind::String)) {
    PRUNUS_FAULT(Unsupported, "operator % on a str (formatting) is not supported");
  }
  if (!left.is_number() || !right.is_number()) no_operator(op, left, right);
  const bool both = left.is_whole() && right.is_whole();
  if (both && op != "/" && !(op == "**" && right.as_int() < 0)) {
    return whole(op, left.as_int(), right.as_int());
  }
  return floating(op, left.as_float(), right.as_float());
}

}  // namespace prunus::text::jinja
