#include <algorithm>

#include "prunus/text/jinja_expressions.h"

namespace prunus::text::jinja {
namespace {

// Stands for the text of a block in front of its filters: a constant without a place.
ExprPtr subject() {
  auto expr = std::make_unique<Expr>();
  expr->place.line = 0;
  return expr;
}

class Parser {
 public:
  Parser(std::string_view source, const std::string& where)
      : where_(where), in_(tokens_of(source, where), where) {}

  Body run() {
    Body body = until({});
    in_.expect(TokenKind::End, "the end of the template");
    return body;
  }

 private:
  // Statements up to a tag of one of these names (its `{%` taken, its name not) or the end.
  Body until(std::initializer_list<std::string_view> ends) {
    const ExpressionParser::Deeper deeper(in_);
    Body body;
    while (in_.peek().kind != TokenKind::End) {
      const Token token = in_.next();
      if (token.kind == TokenKind::Text) {
        body.push_back({.kind = StmtKind::Text, .place = token.place, .text = token.text});
      } else if (token.kind == TokenKind::PrintBegin) {
        Stmt& print = body.emplace_back();
        print.kind = StmtKind::Print;
        print.place = token.place;
        print.exprs.push_back(in_.tuple());
        in_.expect(TokenKind::PrintEnd, "'}}'");
      } else {
        const bool known = std::any_of(ends.begin(), ends.end(),
                                       [&](std::string_view end) { return in_.is_word(end); });
        if (known) return body;
        body.push_back(tag());
      }
    }
    PRUNUS_CHECK(ends.size() == 0, Corrupt, in_.here(), ": the template ends inside a block; ",
                 "expected ", ends.size() == 0 ? "" : *(ends.end() - 1));
    return body;
  }

  Stmt tag() {
    Stmt stmt;
    stmt.place = in_.peek().place;
    const std::string name = in_.expect_name();
    if (name == "if") {
      if_tag(stmt);
    } else if (name == "for") {
      for_tag(stmt);
    } else if (name == "set") {
      set_tag(stmt);
    } else if (name == "macro") {
      macro_tag(stmt);
    } else if (name == "filter") {
      stmt.kind = StmtKind::FilterBlock;
      stmt.exprs.push_back(in_.filters(subject()));
      block(stmt, "endfilter");
    } else if (name == "with") {
      with_tag(stmt);
    } else if (name == "generation") {
      stmt.kind = StmtKind::Generation;
      block(stmt, "endgeneration");
    } else if (name == "break" || name == "continue") {
      stmt.kind = name == "break" ? StmtKind::Break : StmtKind::Continue;
      PRUNUS_CHECK(loops_ > 0, Corrupt, at_place(where_, stmt.place), ": '", name,
                   "' outside of a loop");
      end_tag();
    } else {
      PRUNUS_FAIL(Unsupported, at_place(where_, stmt.place), ": tag '", name,
                  "' is not supported, or stands where it cannot");
    }
    return stmt;
  }

  void end_tag() { in_.expect(TokenKind::BlockEnd, "'%}'"); }

  // The rest of the opening tag, a body and its end tag.
  void block(Stmt& stmt, std::string_view end) {
    end_tag();
    stmt.bodies.push_back(until({end}));
    in_.expect_word(end);
    end_tag();
  }

  void if_tag(Stmt& stmt) {
    stmt.kind = StmtKind::If;
    do {
      stmt.exprs.push_back(in_.tuple(false));
      end_tag();
      stmt.bodies.push_back(until({"elif", "else", "endif"}));
    } while (in_.take_word("elif"));
    if (in_.take_word("else")) {
      end_tag();
      stmt.bodies.push_back(until({"endif"}));
    }
    in_.expect_word("endif");
    end_tag();
  }

  void names(Stmt& stmt) {
    const bool open = in_.take_op("(");
    do {
      stmt.targets.push_back(in_.expect_name());
    } while (in_.take_op(",") && (stmt.unpack = true));
    if (open) in_.expect_op(")");
  }

  void for_tag(Stmt& stmt) {
    stmt.kind = StmtKind::For;
    names(stmt);
    in_.expect_word("in");
    stmt.exprs.push_back(in_.tuple(false));
    stmt.exprs.push_back(in_.take_word("if") ? in_.expression() : nullptr);
    PRUNUS_CHECK(!in_.is_word("recursive"), Unsupported, in_.here(),
                 ": 'recursive' loops are not supported");
    end_tag();
    ++loops_;
    stmt.bodies.push_back(until({"else", "endfor"}));
    --loops_;
    if (in_.take_word("else")) {
      end_tag();
      stmt.bodies.push_back(until({"endfor"}));
    }
    in_.expect_word("endfor");
    end_tag();
  }

  void set_tag(Stmt& stmt) {
    names(stmt);
    if (!stmt.unpack && in_.take_op(".")) {
      stmt.attribute = true;
      stmt.targets.push_back(in_.expect_name());
    }
    if (in_.take_op("=")) {
      stmt.kind = StmtKind::Set;
      stmt.exprs.push_back(in_.tuple());
      return end_tag();
    }
    stmt.kind = StmtKind::SetBlock;
    stmt.exprs.push_back(in_.take_op("|") ? in_.filters(subject()) : nullptr);
    block(stmt, "endset");
  }

  void macro_tag(Stmt& stmt) {
    stmt.kind = StmtKind::Macro;
    stmt.text = in_.expect_name();
    in_.expect_op("(");
    while (!in_.is_op(")")) {
      stmt.targets.push_back(in_.expect_name());
      if (in_.take_op("=")) {
        stmt.exprs.push_back(in_.expression());
      } else {
        PRUNUS_CHECK(stmt.exprs.empty(), Corrupt, in_.here(),
                     ": an argument without a default follows one with a default");
      }
      if (!in_.take_op(",")) break;
    }
    in_.expect_op(")");
    const int loops = std::exchange(loops_, 0);
    block(stmt, "endmacro");
    loops_ = loops;
  }

  void with_tag(Stmt& stmt) {
    stmt.kind = StmtKind::With;
    while (in_.peek().kind != TokenKind::BlockEnd) {
      stmt.targets.push_back(in_.expect_name());
      in_.expect_op("=");
      stmt.exprs.push_back(in_.expression());
      if (!in_.take_op(",")) break;
    }
    block(stmt, "endwith");
  }

  const std::string& where_;
  ExpressionParser in_;
  int loops_ = 0;
};

}  // namespace

Body parse(std::string_view source, const std::string& where) {
  return Parser(source, where).run();
}

}  // namespace prunus::text::jinja
