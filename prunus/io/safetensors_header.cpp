#include "prunus/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/io/quote.h"
#include "prunus/io/safetensors_dtype.h"

namespace prunus {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kMaxRank = 64;
constexpr uint64_t kMaxNumel = std::numeric_limits<int64_t>::max();

// One entry as written; sizes and offsets are still only claims.
struct Claim {
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
};

std::string known_dtypes() {
  std::string names;
  for (const auto& dtype : safetensors_dtypes()) {
    names += names.empty() ? "" : " ";
    names += dtype.name;
  }
  return names;
}

// Bytes of a shape; Corrupt where the product overflows or is no whole number of bytes.
uint64_t shape_bytes(const Claim& claim, int bits, const std::string& what) {
  bool empty = false;
  std::optional<uint64_t> numel = 1;
  for (const uint64_t size : claim.shape) {
    empty = empty || size == 0;
    numel = checked_mul(*numel, std::max<uint64_t>(size, 1));
    PRUNUS_CHECK(numel && *numel <= kMaxNumel, Corrupt, what, " has shape [",
                 c10::Join(", ", claim.shape), "], whose element count overflows 64 bits");
  }
  if (empty) return 0;
  const auto total_bits = checked_mul(*numel, static_cast<uint64_t>(bits));
  PRUNUS_CHECK(total_bits, Corrupt, what, " has ", *numel, " elements of ", bits,
               " bits, more than 64-bit sizes can hold");
  PRUNUS_CHECK(*total_bits % 8 == 0, Corrupt, what, " has ", *numel, " elements of ", bits,
               " bits, which is no whole number of bytes");
  return *total_bits / 8;
}

// Follows the parser through the JSON and accepts only the header's grammar.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& where, uint64_t data_begin, uint64_t data_bytes)
      : where_(where), data_begin_(data_begin), data_bytes_(data_bytes) {}

  std::vector<TensorEntry> take() { return std::move(entries_); }

  bool null() override { wrong_type("null"); }
  bool boolean(bool) override { wrong_type("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override {
    wrong_type("the number " + quote(text));
  }
  bool binary(binary_t&) override { wrong_type("binary data"); }
  bool number_integer(number_integer_t value) override {
    wrong_type("the number " + std::to_string(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::Shape && place_ != Place::Offsets) {
      wrong_type("the number " + std::to_string(value));
    }
    const bool shape = place_ == Place::Shape;
    auto& list = shape ? claim_.shape : claim_.offsets;
    const size_t limit = shape ? kMaxRank : 2;
    PRUNUS_CHECK(list.size() < limit, Corrupt, what(), ": ", shape ? "shape" : "data_offsets",
                 " has more than ", limit, " numbers");
    list.push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::Metadata) return true;
    if (place_ != Place::Entry || field_ != kDtype) wrong_type("the string " + quote(value));
    claim_.dtype = value;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::Top) {
      name_ = name;
      PRUNUS_CHECK(names_.insert(name).second, Corrupt, where_, ": header: duplicate key ",
                   quote(name));
    } else if (place_ == Place::Metadata) {
      PRUNUS_CHECK(metadata_keys_.insert(name).second, Corrupt, where_,
                   ": header: __metadata__: duplicate key ", quote(name));
    } else {
      entry_key(name);
    }
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::Start) {
      place_ = Place::Top;
    } else if (place_ == Place::Top) {
      place_ = name_ == "__metadata__" ? Place::Metadata : Place::Entry;
      claim_ = {};
      seen_ = {};
    } else {
      wrong_type("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Entry) add_entry();
    place_ = Place::Top;  // after the outermost object the parser accepts only white space
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::Entry || field_ == kDtype) wrong_type("an array");
    place_ = field_ == kShape ? Place::Shape : Place::Offsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::Entry;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    PRUNUS_FAIL(Corrupt, where_, ": header: not valid JSON at byte ", position, ": ",
                quote(error.what(), 200), "; incomplete download?");
  }

 private:
  enum class Place { Start, Top, Metadata, Entry, Shape, Offsets };
  enum Field { kDtype, kShape, kOffsets };
  static constexpr std::array<std::string_view, 3> kFields{"dtype", "shape", "data_offsets"};

  std::string what() const {
    if (place_ == Place::Metadata) return c10::str(where_, ": header: __metadata__");
    return c10::str(where_, ": tensor ", quote(name_));
  }

  std::string expected() const {
    switch (place_) {
      case Place::Metadata:
        return "a string";
      case Place::Shape:
      case Place::Offsets:
        return "a non-negative integer below 2^64";
      case Place::Entry:
        return field_ == kDtype ? "a string" : "an array";
      default:
        return "an object";
    }
  }

  [[noreturn]] void wrong_type(const std::string& got) const {
    const bool in_entry = place_ != Place::Metadata && place_ != Place::Top;
    PRUNUS_FAIL(Corrupt, what(), in_entry ? c10::str(": ", kFields[field_]) : "", ": got ", got,
                ", expected ", expected());
  }

  void entry_key(const std::string& name) {
    const auto found = std::find(kFields.begin(), kFields.end(), name);
    PRUNUS_CHECK(found != kFields.end(), Corrupt, what(), " has the field ", quote(name),
                 ", expected only dtype, shape and data_offsets");
    field_ = static_cast<Field>(found - kFields.begin());
    PRUNUS_CHECK(!seen_[field_], Corrupt, what(), ": duplicate key '", name, "'");
    seen_[field_] = true;
  }

  void add_entry() {
    for (size_t i = 0; i < kFields.size(); ++i) {
      PRUNUS_CHECK(seen_[i], Corrupt, what(), " has no ", kFields[i]);
    }
    const auto* dtype = find_safetensors_dtype(claim_.dtype);
    PRUNUS_CHECK(dtype != nullptr, Corrupt, what(), " has the unknown dtype ", quote(claim_.dtype),
                 "; known: ", known_dtypes());
    PRUNUS_CHECK(claim_.offsets.size() == 2, Corrupt, what(), ": data_offsets has ",
                 claim_.offsets.size(), " numbers, expected 2");
    const uint64_t begin = claim_.offsets[0];
    const uint64_t end = claim_.offsets[1];
    PRUNUS_CHECK(begin <= end, Corrupt, what(), " begins at data byte ", begin,
                 " but ends before it, at ", end);
    const uint64_t bytes = shape_bytes(claim_, dtype->bits, what());
    PRUNUS_CHECK(end - begin == bytes, Corrupt, what(), ": data_offsets span ", end - begin,
                 " bytes, but ", claim_.dtype, " of shape [", c10::Join(", ", claim_.shape),
                 "] takes ", bytes);
    PRUNUS_CHECK(end <= data_bytes_, Corrupt, what(), " ends at data byte ", end,
                 " but the file has only ", data_bytes_, "; incomplete download?");
    entries_.push_back({name_, dtype->type, claim_.dtype,
                        std::vector<int64_t>(claim_.shape.begin(), claim_.shape.end()),
                        data_begin_ + begin, data_begin_ + end});
  }

  const std::string& where_;
  const uint64_t data_begin_;
  const uint64_t data_bytes_;
  Place place_ = Place::Start;
  Field field_ = kDtype;
  std::array<bool, 3> seen_{};
  std::string name_;
  Claim claim_;
  std::set<std::string> names_;
  std::set<std::string> metadata_keys_;
  std::vector<TensorEntry> entries_;
};

// N, once it is known that the file holds that many bytes of header.
uint64_t header_bytes(std::span<const std::byte> file, const std::string& where) {
  PRUNUS_CHECK(file.size() >= kLengthBytes, Corrupt, where, ": has ", file.size(),
               " bytes, a safetensors file has at least 8; incomplete download?");
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  PRUNUS_CHECK(length <= kMaxSafetensorsHeaderBytes, Corrupt, where, ": claims a header of ",
               length, " bytes, at most ", kMaxSafetensorsHeaderBytes,
               " are allowed; is this a safetensors file?");
  PRUNUS_CHECK(length <= file.size() - kLengthBytes, Corrupt, where, ": claims a header of ",
               length, " bytes, but only ", file.size() - kLengthBytes,
               " follow; incomplete download?");
  return length;
}

// Sorts by offset and checks that the tensors cover [begin, end) exactly once.
void check_coverage(std::vector<TensorEntry>& entries, uint64_t begin, uint64_t end,
                    const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t expected = begin;
  for (const auto& entry : entries) {
    PRUNUS_CHECK(entry.begin == expected, Corrupt, where, ": tensor ", quote(entry.name),
                 " begins at data byte ", entry.begin - begin, ", expected ", expected - begin,
                 entry.begin > expected ? " (a hole before it)" : " (overlaps the one before)");
    expected = entry.end;
  }
  PRUNUS_CHECK(expected == end, Corrupt, where, ": the tensors end at data byte ", expected - begin,
               " but the file has ", end - begin, "; trailing bytes are not allowed");
}

}  // namespace

std::vector<TensorEntry> parse_safetensors_header(std::span<const std::byte> file,
                                                  const std::string& where) {
  const uint64_t length = header_bytes(file, where);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  PRUNUS_CHECK(text.starts_with('{'), Corrupt, where,
               ": the header does not start with '{'; is this a safetensors file?");
  // The parser takes a zero byte for the end of its input.
  PRUNUS_CHECK(text.find('\0') == std::string_view::npos, Corrupt, where,
               ": the header contains a zero byte");
  HeaderReader reader(where, kLengthBytes + length, file.size() - kLengthBytes - length);
  Json::sax_parse(text.begin(), text.end(), &reader);
  auto entries = reader.take();
  check_coverage(entries, kLengthBytes + length, file.size(), where);
  return entries;
}

}  // namespace prunus
