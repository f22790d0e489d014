#include "prunus/text/sentencepiece_pieces.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "prunus/base/error.h"
#include "prunus/io/little_endian.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

// Fields of one message of a protocol buffer, one after the other.
class Fields {
 public:
  Fields(std::string_view content, const std::string& where) : rest_(content), where_(where) {}

  bool next() {
    if (rest_.empty()) return false;
    const std::string_view before = rest_;
    const uint64_t key = varint();
    number_ = key >> 3;
    value_ = 0;
    bytes_ = {};
    switch (key & 7) {
      case 0:
        value_ = varint();
        break;
      case 1:
        bytes_ = take(8);
        break;
      case 2:
        bytes_ = take(varint());
        break;
      case 5:
        bytes_ = take(4);
        break;
      default:
        PRUNUS_FAIL(Corrupt, where_, ": not a sentencepiece model: wire type ", key & 7);
    }
    whole_ = before.substr(0, before.size() - rest_.size());
    return true;
  }
  uint64_t number() const { return number_; }
  uint64_t value() const { return value_; }
  std::string_view bytes() const { return bytes_; }
  /// With its key and length.
  std::string_view whole() const { return whole_; }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    PRUNUS_FAIL(Corrupt, where_, ": not a sentencepiece model: a number of more than 64 bits");
  }
  std::string_view take(uint64_t count) {
    PRUNUS_CHECK(count <= rest_.size(), Corrupt, where_,
                 ": not a sentencepiece model: ends too early; incomplete download?");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
  const std::string& where_;
  uint64_t number_ = 0;
  uint64_t value_ = 0;
  std::string_view bytes_;
  std::string_view whole_;
};

Piece read_piece(std::string_view message, const std::string& where) {
  Piece piece;
  for (Fields fields(message, where); fields.next();) {
    if (fields.number() == 1) piece.text = fields.bytes();
    if (fields.number() == 2 && fields.bytes().size() == 4) {
      const auto* bytes = reinterpret_cast<const std::byte*>(fields.bytes().data());
      piece.score = std::bit_cast<float>(load_little<uint32_t>(bytes));
    }
    if (fields.number() == 3) piece.type = static_cast<int>(fields.value() & 0xFF);
  }
  return piece;
}

void read_trainer(std::string_view message, const std::string& where, PieceModel& model) {
  for (Fields fields(message, where); fields.next();) {
    if (fields.number() != 3) continue;
    model.unigram = fields.value() == 1;
    model.words_or_characters = fields.value() > 2;
  }
}

void read_normalizer(std::string_view message, const std::string& where, PieceModel& model) {
  for (Fields fields(message, where); fields.next();) {
    if (fields.number() == 2) model.charsmap = fields.bytes();
    if (fields.number() == 3) model.adds_space = fields.value() != 0;
    if (fields.number() == 4) model.removes_spaces = fields.value() != 0;
  }
}

}  // namespace

PieceModel read_piece_model(std::string_view content, const std::string& where) {
  PieceModel model;
  for (Fields fields(content, where); fields.next();) {
    if (fields.number() == 2) read_trainer(fields.bytes(), where, model);
    if (fields.number() == 3) read_normalizer(fields.bytes(), where, model);
    if (fields.number() != 1) continue;
    Piece piece = read_piece(fields.bytes(), where);
    PRUNUS_CHECK(!first_invalid_utf8(piece.text), Corrupt, where, ": piece ", model.pieces.size(),
                 " is not valid UTF-8");
    model.pieces.push_back(std::move(piece));
  }
  return model;
}

std::string without_pieces(std::string_view content, const std::string& where,
                           const std::function<bool(int64_t piece)>& stays) {
  std::string left;
  int64_t piece = 0;
  for (Fields fields(content, where); fields.next();) {
    if (fields.number() != 1 || stays(piece++)) left.append(fields.whole());
  }
  return left;
}

std::vector<Piece> read_pieces(std::string_view content, const std::string& where) {
  return read_piece_model(content, where).pieces;
}

}  // namespace prunus::text
