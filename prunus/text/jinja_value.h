#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "prunus/base/error.h"
#include "prunus/base/json.h"

namespace prunus::text::jinja {

/// A fault of a template or of the values in it, without a place: whoever knows the place in the
/// template adds it.
class Fault : public std::runtime_error {
 public:
  Fault(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Fault with a message in parts.
#define PRUNUS_FAULT(kind, ...) \
  throw ::prunus::text::jinja::Fault(::prunus::ErrorKind::kind, ::c10::str(__VA_ARGS__))

/// What one rendering may use, against templates that would run or grow without end.
class Budget {
 public:
  /// One more step. Throws Fault beyond 5 million.
  void step();
  /// `count` bytes more for strings and lists, those given back included. Throws Fault beyond 1
  /// GiB.
  void bytes(size_t count);

 private:
  uint64_t steps_ = 0;
  uint64_t bytes_ = 0;
};

class Value;
struct List;
struct Dict;
class Object;
using Values = std::vector<Value>;

/// A value as Python has it in a template. Strings, lists and mappings are shared and never change.
class Value {
 public:
  enum class Kind { Undefined, None, Bool, Int, Float, String, List, Dict, Object };

  Value() : data_(None{}) {}
  static Value undefined(std::string message);
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(int64_t value) { return Value(Data(value)); }
  static Value real(double value) { return Value(Data(value)); }
  static Value string(std::string value);
  /// Throws Fault where items nest deeper than 100 or are functions or namespaces.
  static Value list(Values items, bool tuple = false);
  /// What Python gives as an iterator: no length, no index, true even if empty, read once.
  static Value iterator(Values items);
  /// As list; a later entry takes the place of an earlier one of the same key.
  static Value dict(std::vector<std::pair<std::string, Value>> entries);
  static Value object(std::shared_ptr<Object> object) { return Value(Data(std::move(object))); }
  /// Throws Fault for integers beyond 64 bits.
  static Value of(const Json& json);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_number() const { return is(Kind::Bool) || is(Kind::Int) || is(Kind::Float); }
  bool is_whole() const { return is(Kind::Bool) || is(Kind::Int); }

  /// The content of a value of that kind; of another, std::bad_variant_access.
  const std::string& undefined_message() const { return std::get<Undefined>(data_).message; }
  bool as_bool() const { return std::get<bool>(data_); }
  const std::string& as_string() const {
    return *std::get<std::shared_ptr<const std::string>>(data_);
  }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object& as_object() const { return *std::get<std::shared_ptr<Object>>(data_); }
  /// Of a whole number (true is 1), of any number.
  int64_t as_int() const;
  double as_float() const;

  /// What `if` takes it for.
  bool truth() const;
  /// Python's name of its type, e.g. "str".
  std::string type_name() const;
  /// How deep lists and mappings nest in it; 0 for anything else.
  int depth() const;

 private:
  struct Undefined {
    std::string message;
  };
  struct None {};
  using Data = std::variant<Undefined, None, bool, int64_t, double,
                            std::shared_ptr<const std::string>, std::shared_ptr<const List>,
                            std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

struct List {
  Values items;
  bool tuple = false;
  bool iterator = false;
  int depth = 1;
  mutable bool spent = false;  ///< an iterator that was read
};

struct Dict {
  std::vector<std::pair<std::string, Value>> entries;
  int depth = 1;
  const Value* find(std::string_view key) const;
};

/// Anything with a behaviour of its own: functions, namespaces, `loop`.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type() const = 0;
  virtual std::optional<Value> attribute(const std::string& name) const = 0;
};

/// The arguments of a call of a function, filter or test.
struct Args {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
  Budget& budget;

  /// The argument at a place or of a name, or nothing.
  std::optional<Value> find(size_t at, std::string_view name) const;
  Value get(size_t at, std::string_view name, Value otherwise) const;
  /// Throws Fault where it is missing.
  Value need(size_t at, std::string_view name) const;
  /// Throws Fault for more positional arguments than `names` and for other names.
  void allow(std::initializer_list<std::string_view> names) const;
};

class Function : public Object {
 public:
  using Call = std::function<Value(Args&)>;
  explicit Function(Call call) : call_(std::move(call)) {}
  std::string_view type() const override { return "function"; }
  std::optional<Value> attribute(const std::string&) const override { return std::nullopt; }
  Value call(Args& args) const { return call_(args); }

 private:
  Call call_;
};

/// The one thing whose attributes a template may set.
class Namespace : public Object {
 public:
  std::string_view type() const override { return "namespace"; }
  std::optional<Value> attribute(const std::string& name) const override;
  /// Throws Fault where the value is a namespace.
  void set(const std::string& name, Value value);

 private:
  std::vector<std::pair<std::string, Value>> entries_;
};

/// The parts of a value that a `for` would take. Throws Fault where there is nothing to walk over.
Values iterate(const Value& value);
/// Python's len(). Throws Fault.
int64_t length_of(const Value& value);

/// Python's ==, <. `less` throws Fault for kinds that have no order.
bool equal(const Value& left, const Value& right);
bool less(const Value& left, const Value& right);
/// `item in container`. Throws Fault.
bool contains(const Value& container, const Value& item);

/// Python's str() and repr(); undefined prints as nothing.
std::string str(const Value& value);
std::string repr(const Value& value);

/// How json.dumps writes: item and key separators, indentation (nothing: one line).
struct JsonStyle {
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  std::optional<std::string> indent = std::nullopt;
  bool ensure_ascii = false;
  bool sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style);

/// value.name, value[key] as Jinja looks them up: an undefined value where there is none.
/// Throws Fault for an undefined `value` and for methods that Prunus does not know.
Value attribute_of(const Value& value, const std::string& name);
Value item_of(const Value& value, const Value& key);
/// value[start:stop:step]; None for what is not given.
Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step);

/// A binary operator: + - * / // % ** by its text.
Value arithmetic(const std::string& op, const Value& left, const Value& right, Budget& budget);

/// A method of a string, list or mapping as a function; nothing where Python has none of that name.
/// Throws Fault (Unsupported) for those that Python has and Prunus has not.
std::optional<Value> method_of(const Value& value, const std::string& name);

using FilterCall = Value (*)(const Value& value, Args& args);
using TestCall = bool (*)(const Value& value, Args& args);
/// nullptr where the name is not known.
FilterCall find_filter(std::string_view name);
FilterCall find_list_filter(std::string_view name);
TestCall find_test(std::string_view name);

}  // namespace prunus::text::jinja
