#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/jinja_ast.h"

namespace prunus::text::jinja {

/// Reads expressions from tokens, with the precedence of Jinja.
class ExpressionParser {
 public:
  static constexpr int kMostDepth = 200;

  ExpressionParser(std::vector<Token> tokens, const std::string& where)
      : tokens_(std::move(tokens)), where_(where) {}

  /// Everything, `a if b else c` included; without it where `conditional` is false.
  ExprPtr expression(bool conditional = true);
  /// An expression or several with commas between, which make a tuple.
  ExprPtr tuple(bool conditional = true);
  /// `name(…)|name(…)` behind `subject`.
  ExprPtr filters(ExprPtr subject);

  const Token& peek(size_t ahead = 0) const;
  Token next();
  bool is_op(std::string_view op, size_t ahead = 0) const;
  bool is_word(std::string_view word, size_t ahead = 0) const;
  bool take_op(std::string_view op);
  bool take_word(std::string_view word);
  /// Throw Corrupt where it is something else.
  void expect_op(std::string_view op);
  void expect_word(std::string_view word);
  void expect(TokenKind kind, std::string_view what);
  std::string expect_name();
  std::string here() const { return at_place(where_, peek().place); }

  /// One level deeper into what nests; throws Corrupt beyond 200.
  class Deeper {
   public:
    explicit Deeper(ExpressionParser& parser);
    ~Deeper() { --parser_.level_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    ExpressionParser& parser_;
  };

 private:
  ExprPtr conditional();
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr bracketed(ExprKind kind, std::string_view close);
  ExprPtr mapping();
  ExprPtr postfix(ExprPtr subject);
  ExprPtr member(ExprPtr subject);
  ExprPtr subscript(ExprPtr subject);
  ExprPtr test(ExprPtr subject);
  void arguments(Expr& call);
  bool begins_argument() const;

  ExprPtr make(ExprKind kind, const Place& place, std::string name = "") const;
  void add(Expr& parent, ExprPtr part) const;
  ExprPtr binary(ExprKind kind, ExprPtr left, const Token& op, ExprPtr right) const;

  std::vector<Token> tokens_;
  const std::string& where_;
  size_t at_ = 0;
  int level_ = 0;
};

}  // namespace prunus::text::jinja
