#pragma once
#include <memory>
#include <string>
#include <vector>

#include "prunus/text/jinja_lexer.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind {
  Constant,     ///< value
  Name,         ///< name
  List,         ///< parts
  Tuple,        ///< parts
  Dict,         ///< parts: key, value, key, value, …
  Attribute,    ///< parts[0].name
  Item,         ///< parts[0][parts[1]]
  Slice,        ///< parts[0][parts[1]:parts[2]:parts[3]]; what is not given is null
  Call,         ///< parts[0](the others; the last `names.size()` of them by name)
  Filter,       ///< parts[0] | name(the others, as Call)
  Test,         ///< parts[0] is name(the others, as Call)
  Not,          ///< not parts[0]
  Negative,     ///< -parts[0]
  Positive,     ///< +parts[0]
  And,          ///< parts[0] and parts[1]
  Or,           ///< parts[0] or parts[1]
  Compare,      ///< parts[0] names[0] parts[1] names[1] parts[2] …
  Arithmetic,   ///< parts[0] name parts[1]
  Concat,       ///< parts, each as text
  Conditional,  ///< parts[1] if parts[0] else parts[2] (or null)
};

struct Expr {
  ExprKind kind = ExprKind::Constant;
  Place place;
  std::string name = {};
  Value value = {};
  std::vector<ExprPtr> parts = {};
  std::vector<std::string> names = {};
  int depth = 1;  ///< of the tree, so that no template makes it too deep to walk
};

struct Stmt;
using Body = std::vector<Stmt>;

enum class StmtKind {
  Text,         ///< text
  Print,        ///< exprs[0]
  If,           ///< exprs[i] guards bodies[i]; one body more is the else
  For,          ///< targets in exprs[0], if exprs[1] (or null): bodies[0]; else bodies[1]
  Set,          ///< targets = exprs[0]
  SetBlock,     ///< targets = bodies[0] through exprs[0] (a filter on Name "", or null)
  Macro,        ///< name(targets; the last defaults.size() have exprs as defaults): bodies[0]
  FilterBlock,  ///< bodies[0] through exprs[0], a filter on Name ""
  With,         ///< targets[i] = exprs[i] inside bodies[0]
  Generation,   ///< bodies[0] is what the assistant says
  Break,
  Continue,
};

struct Stmt {
  StmtKind kind = StmtKind::Text;
  Place place;
  std::string text = {};                  ///< text or name
  std::vector<std::string> targets = {};  ///< names; "ns.x" as two: see `attribute`
  bool attribute = false;                 ///< Set: targets are a namespace and its attribute
  bool unpack = false;                    ///< several targets take the items of one value
  std::vector<ExprPtr> exprs = {};
  std::vector<Body> bodies = {};
};

/// Parses a template. Throws Corrupt for what is no template and Unsupported for tags, filters and
/// tests that Prunus does not know, both naming `where`, line and column.
Body parse(std::string_view source, const std::string& where);

}  // namespace prunus::text::jinja
