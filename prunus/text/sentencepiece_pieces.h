#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace prunus::text {

/// An entry of a sentencepiece vocabulary.
struct Piece {
  enum Type { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };
  std::string text;
  int type = Normal;
  float score = 0;
};

/// What a sentencepiece model file says.
struct PieceModel {
  std::vector<Piece> pieces;         ///< in the order of their ids
  bool unigram = true;               ///< else the pair with the best score is joined first (BPE)
  bool words_or_characters = false;  ///< neither of the two
  bool adds_space = true;            ///< in front of a text
  bool removes_spaces = true;        ///< several become one, those at the ends none
  std::string charsmap;              ///< of the normalizer, may be empty
};

/// Reads the protocol buffer itself, as the library does not tell all of it.
/// Throws Corrupt, naming `where`, for a file that breaks the format.
/// Source: sentencepiece_model.proto, messages ModelProto, SentencePiece, TrainerSpec and
/// NormalizerSpec.
PieceModel read_piece_model(std::string_view content, const std::string& where);

/// The same file without some pieces, all else as it was; `stays` takes a piece's number.
/// Throws Corrupt.
std::string without_pieces(std::string_view content, const std::string& where,
                           const std::function<bool(int64_t piece)>& stays);

/// The pieces alone.
std::vector<Piece> read_pieces(std::string_view content, const std::string& where);

}  // namespace prunus::text
