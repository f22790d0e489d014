#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace prunus::text {

/// An entry of a sentencepiece vocabulary.
struct Piece {
  enum Type { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };
  std::string text;
  int type = Normal;
};

/// The pieces of a sentencepiece model file in the order of their ids, read from the protocol
/// buffer itself, as the library does not tell user-defined pieces from others.
/// Throws Corrupt, naming `where`, for a file that breaks the format.
/// Source: sentencepiece_model.proto, messages ModelProto and SentencePiece.
std::vector<Piece> read_pieces(std::string_view content, const std::string& where);

}  // namespace prunus::text
