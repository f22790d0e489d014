#include "prunus/text/jinja_expressions.h"

#include <algorithm>
#include <charconv>

namespace prunus::text::jinja {
namespace {

// The name of a comparison that begins here, or nothing.
std::string comparison_at(const ExpressionParser& tokens) {
  for (const char* op : {"==", "!=", "<", "<=", ">", ">="}) {
    if (tokens.is_op(op)) return op;
  }
  if (tokens.is_word("in")) return "in";
  return tokens.is_word("not") && tokens.is_word("in", 1) ? "not in" : "";
}

Value constant_of(const Token& token, const std::string& here) {
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == TokenKind::Integer) {
    int64_t value = 0;
    const auto read = std::from_chars(begin, end, value);
    PRUNUS_CHECK(read.ec == std::errc() && read.ptr == end, Unsupported, here, ": the number ",
                 token.text, " does not fit into 64 bits");
    return Value::integer(value);
  }
  double value = 0;
  std::from_chars(begin, end, value);
  return Value::real(value);
}

}  // namespace

ExprPtr ExpressionParser::make(ExprKind kind, const Place& place, std::string name) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->place = place;
  expr->name = std::move(name);
  return expr;
}

void ExpressionParser::add(Expr& parent, ExprPtr part) const {
  if (part) parent.depth = std::max(parent.depth, part->depth + 1);
  PRUNUS_CHECK(parent.depth <= ExpressionParser::kMostDepth, Corrupt, here(),
               ": an expression nests deeper than ", ExpressionParser::kMostDepth);
  parent.parts.push_back(std::move(part));
}

ExprPtr ExpressionParser::binary(ExprKind kind, ExprPtr left, const Token& op,
                                 ExprPtr right) const {
  ExprPtr expr = make(kind, op.place, op.text);
  add(*expr, std::move(left));
  add(*expr, std::move(right));
  return expr;
}

ExprPtr ExpressionParser::expression(bool with_conditional) {
  const Deeper deeper(*this);
  return with_conditional ? conditional() : disjunction();
}

ExprPtr ExpressionParser::conditional() {
  ExprPtr value = disjunction();
  while (is_word("if")) {
    ExprPtr expr = make(ExprKind::Conditional, next().place);
    add(*expr, disjunction());
    add(*expr, std::move(value));
    add(*expr, take_word("else") ? expression() : nullptr);
    value = std::move(expr);
  }
  return value;
}

ExprPtr ExpressionParser::tuple(bool with_conditional) {
  const Place place = peek().place;
  ExprPtr first = expression(with_conditional);
  if (!is_op(",")) return first;
  ExprPtr all = make(ExprKind::Tuple, place);
  add(*all, std::move(first));
  while (take_op(",")) {
    if (peek().kind == TokenKind::BlockEnd || peek().kind == TokenKind::PrintEnd || is_op(")")) {
      break;
    }
    add(*all, expression(with_conditional));
  }
  return all;
}

ExprPtr ExpressionParser::disjunction() {
  ExprPtr left = conjunction();
  while (is_word("or")) {
    const Token op = next();
    left = binary(ExprKind::Or, std::move(left), op, conjunction());
  }
  return left;
}

ExprPtr ExpressionParser::conjunction() {
  ExprPtr left = negation();
  while (is_word("and")) {
    const Token op = next();
    left = binary(ExprKind::And, std::move(left), op, negation());
  }
  return left;
}

ExprPtr ExpressionParser::negation() {
  if (!is_word("not")) return comparison();
  const Deeper deeper(*this);
  ExprPtr expr = make(ExprKind::Not, next().place);
  add(*expr, negation());
  return expr;
}

ExprPtr ExpressionParser::comparison() {
  const Place place = peek().place;
  ExprPtr first = sum();
  std::string op = comparison_at(*this);
  if (op.empty()) return first;
  ExprPtr expr = make(ExprKind::Compare, place);
  add(*expr, std::move(first));
  for (; !op.empty(); op = comparison_at(*this)) {
    next();
    if (op == "not in") next();
    expr->names.push_back(op);
    add(*expr, sum());
  }
  return expr;
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concat();
  while (is_op("+") || is_op("-")) {
    const Token op = next();
    left = binary(ExprKind::Arithmetic, std::move(left), op, concat());
  }
  return left;
}

ExprPtr ExpressionParser::concat() {
  ExprPtr first = product();
  if (!is_op("~")) return first;
  ExprPtr expr = make(ExprKind::Concat, peek().place);
  add(*expr, std::move(first));
  while (take_op("~")) add(*expr, product());
  return expr;
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const Token op = next();
    left = binary(ExprKind::Arithmetic, std::move(left), op, power());
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary(true);
  while (is_op("**")) {
    const Token op = next();
    left = binary(ExprKind::Arithmetic, std::move(left), op, unary(true));
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const Deeper deeper(*this);
  ExprPtr expr;
  if (is_op("-") || is_op("+")) {
    const Token op = next();
    expr = make(op.text == "-" ? ExprKind::Negative : ExprKind::Positive, op.place);
    add(*expr, unary(false));
  } else {
    expr = primary();
  }
  expr = postfix(std::move(expr));
  while (with_filters) {
    if (is_op("|")) {
      next();
      expr = filters(std::move(expr));
    } else if (is_word("is")) {
      expr = test(std::move(expr));
    } else if (is_op("(")) {
      expr = postfix(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr ExpressionParser::primary() {
  const Token& token = peek();
  switch (token.kind) {
    case TokenKind::Name:
      return name_or_constant();
    case TokenKind::String: {
      ExprPtr expr = make(ExprKind::Constant, token.place);
      std::string text;
      while (peek().kind == TokenKind::String) text += next().text;
      expr->value = Value::string(std::move(text));
      return expr;
    }
    case TokenKind::Integer:
    case TokenKind::Float: {
      ExprPtr expr = make(ExprKind::Constant, token.place);
      expr->value = constant_of(token, here());
      next();
      return expr;
    }
    default:
      break;
  }
  if (is_op("[")) return bracketed(ExprKind::List, "]");
  if (is_op("{")) return mapping();
  if (is_op("(")) {
    if (is_op(")", 1)) return bracketed(ExprKind::Tuple, ")");
    next();
    ExprPtr inner = tuple();
    expect_op(")");
    return inner;
  }
  PRUNUS_FAIL(Corrupt, here(), ": got '", token.text, "', expected a value");
}

ExprPtr ExpressionParser::name_or_constant() {
  const Token token = next();
  ExprPtr expr = make(ExprKind::Constant, token.place);
  if (token.text == "true" || token.text == "True") {
    expr->value = Value::boolean(true);
  } else if (token.text == "false" || token.text == "False") {
    expr->value = Value::boolean(false);
  } else if (token.text != "none" && token.text != "None") {
    expr->kind = ExprKind::Name;
    expr->name = token.text;
  }
  return expr;
}

ExprPtr ExpressionParser::bracketed(ExprKind kind, std::string_view close) {
  ExprPtr expr = make(kind, next().place);
  while (!is_op(close)) {
    add(*expr, expression());
    if (!take_op(",")) break;
  }
  expect_op(close);
  return expr;
}

ExprPtr ExpressionParser::mapping() {
  ExprPtr expr = make(ExprKind::Dict, next().place);
  while (!is_op("}")) {
    add(*expr, expression());
    expect_op(":");
    add(*expr, expression());
    if (!take_op(",")) break;
  }
  expect_op("}");
  return expr;
}

ExprPtr ExpressionParser::postfix(ExprPtr subject) {
  while (true) {
    if (is_op(".")) {
      subject = member(std::move(subject));
    } else if (is_op("[")) {
      subject = subscript(std::move(subject));
    } else if (is_op("(")) {
      ExprPtr call = make(ExprKind::Call, peek().place);
      add(*call, std::move(subject));
      arguments(*call);
      subject = std::move(call);
    } else {
      return subject;
    }
  }
}

ExprPtr ExpressionParser::member(ExprPtr subject) {
  const Place place = next().place;
  if (peek().kind == TokenKind::Integer) {
    ExprPtr item = make(ExprKind::Item, place);
    add(*item, std::move(subject));
    ExprPtr index = make(ExprKind::Constant, peek().place);
    index->value = constant_of(peek(), here());
    next();
    add(*item, std::move(index));
    return item;
  }
  ExprPtr attribute = make(ExprKind::Attribute, place, expect_name());
  add(*attribute, std::move(subject));
  return attribute;
}

ExprPtr ExpressionParser::subscript(ExprPtr subject) {
  ExprPtr expr = make(ExprKind::Item, next().place);
  add(*expr, std::move(subject));
  const auto part = [&]() -> ExprPtr { return is_op(":") || is_op("]") ? nullptr : expression(); };
  ExprPtr first = part();
  if (is_op(":")) {
    expr->kind = ExprKind::Slice;
    add(*expr, std::move(first));
    for (int i = 0; i < 2; ++i) add(*expr, take_op(":") ? part() : nullptr);
  } else {
    PRUNUS_CHECK(first, Corrupt, here(), ": expected an index");
    PRUNUS_CHECK(!is_op(","), Unsupported, here(), ": an index of several parts is not supported");
    add(*expr, std::move(first));
  }
  expect_op("]");
  return expr;
}

void ExpressionParser::arguments(Expr& call) {
  expect_op("(");
  while (!is_op(")")) {
    PRUNUS_CHECK(!is_op("*") && !is_op("**"), Unsupported, here(),
                 ": arguments with * or ** are not supported");
    if (peek().kind == TokenKind::Name && is_op("=", 1)) {
      call.names.push_back(next().text);
      next();
    } else {
      PRUNUS_CHECK(call.names.empty(), Corrupt, here(),
                   ": an argument without a name follows one with a name");
    }
    add(call, expression());
    if (!take_op(",")) break;
  }
  expect_op(")");
}

ExprPtr ExpressionParser::filters(ExprPtr subject) {
  do {
    const Place place = peek().place;
    ExprPtr filter = make(ExprKind::Filter, place, expect_name());
    PRUNUS_CHECK(find_filter(filter->name) != nullptr, Unsupported, at_place(where_, place),
                 ": filter '", filter->name, "' is not supported");
    add(*filter, std::move(subject));
    if (is_op("(")) arguments(*filter);
    subject = std::move(filter);
  } while (take_op("|"));
  return subject;
}

bool ExpressionParser::begins_argument() const {
  const Token& token = peek();
  if (token.kind == TokenKind::Name) {
    constexpr std::string_view kWords[] = {"else", "or", "and", "is", "not", "in", "if"};
    return std::find(std::begin(kWords), std::end(kWords), token.text) == std::end(kWords);
  }
  return token.kind == TokenKind::String || token.kind == TokenKind::Integer ||
         token.kind == TokenKind::Float || is_op("[") || is_op("{");
}

ExprPtr ExpressionParser::test(ExprPtr subject) {
  const Place place = next().place;
  const bool negated = take_word("not");
  const Place name_place = peek().place;
  ExprPtr expr = make(ExprKind::Test, name_place, expect_name());
  PRUNUS_CHECK(find_test(expr->name) != nullptr, Unsupported, at_place(where_, name_place),
               ": test '", expr->name, "' is not supported");
  add(*expr, std::move(subject));
  if (is_op("(")) {
    arguments(*expr);
  } else if (begins_argument()) {
    add(*expr, postfix(primary()));
  }
  if (!negated) return expr;
  ExprPtr opposite = make(ExprKind::Not, place);
  add(*opposite, std::move(expr));
  return opposite;
}

}  // namespace prunus::text::jinja
