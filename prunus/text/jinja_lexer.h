#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/error.h"

namespace prunus::text::jinja {

/// A place in a template, both counted from 1; columns in bytes.
struct Place {
  int line = 1;
  int column = 1;
};

enum class TokenKind {
  Text,        ///< outside of tags, white space control applied
  PrintBegin,  ///< {{
  PrintEnd,    ///< }}
  BlockBegin,  ///< {%
  BlockEnd,    ///< %}
  Name,
  String,  ///< its content, escapes resolved
  Integer,
  Float,
  Operator,  ///< as written
  End,
};

struct Token {
  TokenKind kind = TokenKind::End;
  std::string text;
  Place place;
};

/// Cuts a template into tokens as Jinja does with trim_blocks and lstrip_blocks (the settings of
/// transformers): comments are left out, raw blocks are text, one newline at the end is dropped.
/// Ends with a token End. Throws Corrupt naming `where`, line and column for what is no template;
/// for invalid UTF-8 and more than a MiB.
std::vector<Token> tokens_of(std::string_view source, const std::string& where);

/// "FILE: line 3, column 5".
std::string at_place(const std::string& where, const Place& place);

}  // namespace prunus::text::jinja
