// The part of ExpressionParser that walks over tokens.
#include <algorithm>

#include "prunus/text/jinja_expressions.h"

namespace prunus::text::jinja {

ExpressionParser::Deeper::Deeper(ExpressionParser& parser) : parser_(parser) {
  PRUNUS_CHECK(parser.level_ < kMostDepth, Corrupt, parser.here(), ": nested deeper than ",
               kMostDepth);
  ++parser.level_;
}

const Token& ExpressionParser::peek(size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}

Token ExpressionParser::next() {
  Token token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExpressionParser::is_op(std::string_view op, size_t ahead) const {
  return peek(ahead).kind == TokenKind::Operator && peek(ahead).text == op;
}

bool ExpressionParser::is_word(std::string_view word, size_t ahead) const {
  return peek(ahead).kind == TokenKind::Name && peek(ahead).text == word;
}

bool ExpressionParser::take_op(std::string_view op) {
  if (!is_op(op)) return false;
  next();
  return true;
}

bool ExpressionParser::take_word(std::string_view word) {
  if (!is_word(word)) return false;
  next();
  return true;
}

void ExpressionParser::expect_op(std::string_view op) {
  PRUNUS_CHECK(take_op(op), Corrupt, here(), ": got '", peek().text, "', expected '", op, "'");
}

void ExpressionParser::expect_word(std::string_view word) {
  PRUNUS_CHECK(take_word(word), Corrupt, here(), ": got '", peek().text, "', expected '", word,
               "'");
}

void ExpressionParser::expect(TokenKind kind, std::string_view what) {
  PRUNUS_CHECK(peek().kind == kind, Corrupt, here(), ": got '", peek().text, "', expected ", what);
  next();
}

std::string ExpressionParser::expect_name() {
  PRUNUS_CHECK(peek().kind == TokenKind::Name, Corrupt, here(), ": got '", peek().text,
               "', expected a name");
  return next().text;
}

}  // namespace prunus::text::jinja
