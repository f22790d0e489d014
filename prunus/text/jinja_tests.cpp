// What may stand behind `is`.
#include <algorithm>
#include <map>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

template <Kind kind>
bool is_kind(const Value& value, Args& args) {
  args.allow({});
  return value.is(kind);
}

bool defined(const Value& value, Args& args) {
  args.allow({});
  return !value.is(Kind::Undefined);
}

bool number(const Value& value, Args& args) {
  args.allow({});
  return value.is_number();
}

bool is_list(const Value& value) { return value.is(Kind::List) && !value.as_list().iterator; }

bool iterable(const Value& value, Args& args) {
  args.allow({});
  return value.is(Kind::String) || value.is(Kind::List) || value.is(Kind::Dict) ||
         value.is(Kind::Undefined);
}

bool sequence(const Value& value, Args& args) {
  args.allow({});
  return value.is(Kind::String) || is_list(value) || value.is(Kind::Dict) ||
         value.is(Kind::Undefined);
}

template <bool wanted>
bool is_bool(const Value& value, Args& args) {
  args.allow({});
  return value.is(Kind::Bool) && value.as_bool() == wanted;
}

template <int64_t rest>
bool remainder(const Value& value, Args& args) {
  args.allow({});
  return equal(arithmetic("%", value, Value::integer(2), args.budget), Value::integer(rest));
}

bool divisible(const Value& value, Args& args) {
  args.allow({"num"});
  return equal(arithmetic("%", value, args.need(0, "num"), args.budget), Value::integer(0));
}

bool same(const Value& value, Args& args) {
  args.allow({"b"});
  return equal(value, args.need(0, "b"));
}

bool differs(const Value& value, Args& args) { return !same(value, args); }

// The same object: of what never changes only None and the two truths can be told.
bool same_object(const Value& value, Args& args) {
  args.allow({"other"});
  const Value other = args.need(0, "other");
  if (!value.is(Kind::Bool) && !value.is(Kind::None) && !other.is(Kind::Bool) &&
      !other.is(Kind::None)) {
    PRUNUS_FAULT(Unsupported, "only none, true and false can be compared as objects");
  }
  return value.kind() == other.kind() && equal(value, other);
}

bool below(const Value& value, Args& args) {
  args.allow({"b"});
  return less(value, args.need(0, "b"));
}

bool above(const Value& value, Args& args) {
  args.allow({"b"});
  return less(args.need(0, "b"), value);
}

bool at_most(const Value& value, Args& args) { return same(value, args) || below(value, args); }
bool at_least(const Value& value, Args& args) { return same(value, args) || above(value, args); }

bool in(const Value& value, Args& args) {
  args.allow({"seq"});
  return contains(args.need(0, "seq"), value);
}

// str.islower(), str.isupper(): some letter has a case, and all have this one.
template <std::string (*change)(std::string_view), std::string (*other)(std::string_view)>
bool in_case(const Value& value, Args& args) {
  args.allow({});
  const std::string text = str(value);
  return change(text) == text && other(text) != text;
}

bool callable(const Value& value, Args& args) {
  args.allow({});
  return value.is(Kind::Object) && value.as_object().type() == "function";
}

const std::map<std::string_view, TestCall>& tests() {
  static const std::map<std::string_view, TestCall> all = {
      {"!=", differs},
      {"<", below},
      {"<=", at_most},
      {"==", same},
      {">", above},
      {">=", at_least},
      {"boolean", is_kind<Kind::Bool>},
      {"callable", callable},
      {"defined", defined},
      {"divisibleby", divisible},
      {"eq", same},
      {"equalto", same},
      {"even", remainder<0>},
      {"false", is_bool<false>},
      {"float", is_kind<Kind::Float>},
      {"ge", at_least},
      {"greaterthan", above},
      {"gt", above},
      {"in", in},
      {"integer", is_kind<Kind::Int>},
      {"iterable", iterable},
      {"le", at_most},
      {"lessthan", below},
      {"lower", in_case<lower, upper>},
      {"lt", below},
      {"mapping", is_kind<Kind::Dict>},
      {"ne", differs},
      {"none", is_kind<Kind::None>},
      {"number", number},
      {"odd", remainder<1>},
      {"sameas", same_object},
      {"sequence", sequence},
      {"string", is_kind<Kind::String>},
      {"true", is_bool<true>},
      {"undefined", is_kind<Kind::Undefined>},
      {"upper", in_case<upper, lower>},
  };
  return all;
}

}  // namespace

TestCall find_test(std::string_view name) {
  const auto found = tests().find(name);
  return found == tests().end() ? nullptr : found->second;
}

}  // namespace prunus::text::jinja
