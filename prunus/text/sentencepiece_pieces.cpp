#include "prunus/text/sentencepiece_pieces.h"

#include <cstdint>

#include "prunus/base/error.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

// Fields of one message of a protocol buffer, one after the other.
class Fields {
 public:
  Fields(std::string_view content, const std::string& where) : rest_(content), where_(where) {}

  bool next() {
    if (rest_.empty()) return false;
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
    return true;
  }
  uint64_t number() const { return number_; }
  uint64_t value() const { return value_; }
  std::string_view bytes() const { return bytes_; }

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
};

}  // namespace

std::vector<Piece> read_pieces(std::string_view content, const std::string& where) {
  std::vector<Piece> pieces;
  for (Fields model(content, where); model.next();) {
    if (model.number() != 1) continue;
    Piece piece;
    for (Fields fields(model.bytes(), where); fields.next();) {
      if (fields.number() == 1) piece.text = fields.bytes();
      if (fields.number() == 3) piece.type = static_cast<int>(fields.value() & 0xFF);
    }
    PRUNUS_CHECK(!first_invalid_utf8(piece.text), Corrupt, where, ": piece ", pieces.size(),
                 " is not valid UTF-8");
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace prunus::text
