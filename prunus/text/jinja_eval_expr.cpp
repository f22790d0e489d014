#include <algorithm>

#include "prunus/text/jinja_eval.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

constexpr int kMostLevels = 400;

bool holds(const std::string& op, const Value& left, const Value& right) {
  if (op == "==") return equal(left, right);
  if (op == "!=") return !equal(left, right);
  if (op == "in") return contains(right, left);
  if (op == "not in") return !contains(right, left);
  for (const Value& value : {left, right}) {
    if (value.is(Kind::Undefined)) PRUNUS_FAULT(Corrupt, value.undefined_message());
  }
  if (op == "<") return less(left, right);
  if (op == ">") return less(right, left);
  // Not the opposite of < and >: numbers may be NaN.
  return equal(left, right) || (op == "<=" ? less(left, right) : less(right, left));
}

}  // namespace

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer.get()) {
    const auto found = scope->names.find(name);
    if (found != scope->names.end()) return &found->second;
  }
  return nullptr;
}

ExpressionEvaluator::Deeper::Deeper(ExpressionEvaluator& evaluator) : evaluator_(evaluator) {
  if (evaluator.level_ >= kMostLevels) {
    PRUNUS_FAULT(Corrupt, "calls nest deeper than ", kMostLevels, " levels");
  }
  ++evaluator.level_;
}

Value ExpressionEvaluator::eval(const Expr& expr, const ScopePtr& scope) {
  return placed(expr.place, [&] {
    const Deeper deeper(*this);
    budget_.step();
    return eval_kind(expr, scope);
  });
}

Value ExpressionEvaluator::eval_filters(const Expr& filter, Value subject, const ScopePtr& scope) {
  const Value* before = std::exchange(subject_, &subject);
  Value result = eval(filter, scope);
  subject_ = before;
  return result;
}

Value ExpressionEvaluator::part(const Expr& expr, size_t index, const ScopePtr& scope) {
  return expr.parts[index] ? eval(*expr.parts[index], scope) : Value();
}

Value ExpressionEvaluator::eval_kind(const Expr& expr, const ScopePtr& scope) {
  switch (expr.kind) {
    case ExprKind::Constant:
      return expr.value;
    case ExprKind::Name:
      return name(expr, scope);
    case ExprKind::List:
    case ExprKind::Tuple:
      return collection(expr, scope);
    case ExprKind::Dict:
      return mapping(expr, scope);
    case ExprKind::Attribute:
      return attribute_of(part(expr, 0, scope), expr.name);
    case ExprKind::Item: {
      const Value container = part(expr, 0, scope);
      return item_of(container, part(expr, 1, scope));
    }
    case ExprKind::Slice: {
      const Value container = part(expr, 0, scope);
      Value result =
          slice_of(container, part(expr, 1, scope), part(expr, 2, scope), part(expr, 3, scope));
      budget_.bytes(result.is(Kind::List)     ? result.as_list().items.size() * sizeof(Value)
                    : result.is(Kind::String) ? result.as_string().size()
                                              : 0);
      return result;
    }
    case ExprKind::Call:
      return call(expr, scope);
    case ExprKind::Filter:
      return filter(expr, scope);
    case ExprKind::Test:
      return test(expr, scope);
    case ExprKind::Not:
      return Value::boolean(!part(expr, 0, scope).truth());
    case ExprKind::Negative:
    case ExprKind::Positive:
      return signed_number(expr, scope);
    case ExprKind::And: {
      Value left = part(expr, 0, scope);
      return left.truth() ? part(expr, 1, scope) : left;
    }
    case ExprKind::Or: {
      Value left = part(expr, 0, scope);
      return left.truth() ? left : part(expr, 1, scope);
    }
    case ExprKind::Compare:
      return compare(expr, scope);
    case ExprKind::Arithmetic: {
      const Value left = part(expr, 0, scope);
      return arithmetic(expr.name, left, part(expr, 1, scope), budget_);
    }
    case ExprKind::Concat:
      return concat(expr, scope);
    case ExprKind::Conditional:
      if (part(expr, 0, scope).truth()) return part(expr, 1, scope);
      if (expr.parts[2]) return part(expr, 2, scope);
      return Value::undefined("the inline if has no else and its condition is false");
  }
  return {};
}

Value ExpressionEvaluator::name(const Expr& expr, const ScopePtr& scope) const {
  if (const Value* found = scope->find(expr.name)) return *found;
  return Value::undefined("'" + expr.name + "' is undefined");
}

Value ExpressionEvaluator::collection(const Expr& expr, const ScopePtr& scope) {
  Values items;
  for (size_t i = 0; i < expr.parts.size(); ++i) items.push_back(part(expr, i, scope));
  budget_.bytes(items.size() * sizeof(Value));
  return Value::list(std::move(items), expr.kind == ExprKind::Tuple);
}

Value ExpressionEvaluator::mapping(const Expr& expr, const ScopePtr& scope) {
  std::vector<std::pair<std::string, Value>> entries;
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    const Value key = part(expr, i, scope);
    if (!key.is(Kind::String)) {
      PRUNUS_FAULT(Unsupported, "a key of a mapping is a ", key.type_name(), ", expected a str");
    }
    entries.emplace_back(key.as_string(), part(expr, i + 1, scope));
  }
  return Value::dict(std::move(entries));
}

Args ExpressionEvaluator::arguments(const Expr& expr, const ScopePtr& scope) {
  Args args{.positional = {}, .named = {}, .budget = budget_};
  const size_t first_named = expr.parts.size() - expr.names.size();
  for (size_t i = 1; i < expr.parts.size(); ++i) {
    Value value = part(expr, i, scope);
    if (i < first_named) {
      args.positional.push_back(std::move(value));
    } else {
      args.named.emplace_back(expr.names[i - first_named], std::move(value));
    }
  }
  return args;
}

Value ExpressionEvaluator::call(const Expr& expr, const ScopePtr& scope) {
  const Value callee = part(expr, 0, scope);
  if (callee.is(Kind::Undefined)) PRUNUS_FAULT(Corrupt, callee.undefined_message());
  const auto* function =
      callee.is(Kind::Object) ? dynamic_cast<const Function*>(&callee.as_object()) : nullptr;
  if (function == nullptr) PRUNUS_FAULT(Corrupt, "a ", callee.type_name(), " cannot be called");
  Args args = arguments(expr, scope);
  return function->call(args);
}

Value ExpressionEvaluator::filter(const Expr& expr, const ScopePtr& scope) {
  const Expr& inner = *expr.parts[0];
  const bool block = subject_ != nullptr && inner.place.line == 0;
  const Value subject = block ? *subject_ : eval(inner, scope);
  Args args = arguments(expr, scope);
  try {
    return find_filter(expr.name)(subject, args);
  } catch (const Fault& fault) {
    throw Fault(fault.kind(), "filter '" + expr.name + "': " + fault.what());
  }
}

Value ExpressionEvaluator::test(const Expr& expr, const ScopePtr& scope) {
  const Value subject = part(expr, 0, scope);
  Args args = arguments(expr, scope);
  try {
    return Value::boolean(find_test(expr.name)(subject, args));
  } catch (const Fault& fault) {
    throw Fault(fault.kind(), "test '" + expr.name + "': " + fault.what());
  }
}

Value ExpressionEvaluator::compare(const Expr& expr, const ScopePtr& scope) {
  Value left = part(expr, 0, scope);
  for (size_t i = 0; i < expr.names.size(); ++i) {
    Value right = part(expr, i + 1, scope);
    if (!holds(expr.names[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value ExpressionEvaluator::concat(const Expr& expr, const ScopePtr& scope) {
  std::string text;
  for (size_t i = 0; i < expr.parts.size(); ++i) text += str(part(expr, i, scope));
  budget_.bytes(text.size());
  return Value::string(std::move(text));
}

Value ExpressionEvaluator::signed_number(const Expr& expr, const ScopePtr& scope) {
  const Value value = part(expr, 0, scope);
  const std::string op = expr.kind == ExprKind::Negative ? "-" : "+";
  return arithmetic(op, Value::integer(0), value, budget_);
}

}  // namespace prunus::text::jinja
