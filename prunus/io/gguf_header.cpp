#include "prunus/io/gguf_header.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <set>

#include <c10/util/StringUtil.h>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/io/little_endian.h"
#include "prunus/io/quote.h"

namespace prunus {
namespace {

constexpr uint64_t kMaxMetadata = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxNameBytes = 64;
constexpr uint64_t kMaxStringBytes = 1 << 30;
constexpr uint64_t kMaxArray = 1 << 30;
constexpr uint64_t kMaxSize = std::numeric_limits<int64_t>::max();
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinMetadataBytes = 14;  // length and one byte of key, type, a one-byte value
constexpr uint64_t kMinTensorBytes = 25;    // length and one byte of name, rank, type, offset

// The file from front to back, and what is being read, for messages.
class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return file_.size() - at_; }
  void enter(std::string place) { place_ = std::move(place); }
  std::string place() const { return place_.empty() ? where_ : c10::str(where_, ": ", place_); }

  std::span<const std::byte> take(uint64_t bytes, const char* what) {
    PRUNUS_CHECK(bytes <= left(), Corrupt, place(), ": ", what, " takes ", bytes, " bytes at byte ",
                 at_, ", but the file ends at ", file_.size(), "; incomplete download?");
    const auto taken = file_.subspan(at_, bytes);
    at_ += bytes;
    return taken;
  }

  template <typename T>
  T number(const char* what) {
    return load_little<T>(take(sizeof(T), what).data());
  }

  // A number of items of at least `item_bytes` each.
  uint64_t count(const char* what, uint64_t limit, uint64_t item_bytes) {
    const auto value = number<uint64_t>(what);
    PRUNUS_CHECK(value <= limit, Corrupt, place(), ": ", what, " is ", value, ", at most ", limit,
                 " is allowed");
    PRUNUS_CHECK(value <= left() / item_bytes, Corrupt, place(), ": ", what, " is ", value,
                 ", but only ", left(), " bytes follow; incomplete download?");
    return value;
  }

  std::string_view text(const char* what, uint64_t limit) {
    const uint64_t length = count(what, limit, 1);
    return {reinterpret_cast<const char*>(take(length, what).data()), length};
  }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  std::string place_;
  uint64_t at_ = 0;
};

void read_version(Reader& reader) {
  const auto magic = reader.take(4, "the magic number");
  const std::string_view text(reinterpret_cast<const char*>(magic.data()), magic.size());
  PRUNUS_CHECK(text == "GGUF", Corrupt, reader.place(), ": starts with ", quote(text),
               ", expected 'GGUF'; is this a GGUF file?");
  const auto version = reader.number<uint32_t>("the version");
  PRUNUS_CHECK(version == 0 || (version & 0xffff) != 0, Unsupported, reader.place(),
               ": is big-endian; only little-endian files are read");
  PRUNUS_CHECK(version != 0, Corrupt, reader.place(), ": version is 0, expected ", kGgufVersion);
  PRUNUS_CHECK(version == kGgufVersion, Unsupported, reader.place(), ": version is ", version,
               ", expected ", kGgufVersion, "; convert the model again with a current program");
}

GgufValueType read_value_type(Reader& reader, const char* what) {
  const auto number = reader.number<uint32_t>(what);
  PRUNUS_CHECK(number <= static_cast<uint32_t>(GgufValueType::F64), Corrupt, reader.place(), ": ",
               what, " is ", number, ", expected at most ",
               static_cast<uint32_t>(GgufValueType::F64));
  return static_cast<GgufValueType>(number);
}

void check_booleans(std::span<const std::byte> bytes, const Reader& reader) {
  for (const std::byte value : bytes) {
    PRUNUS_CHECK(std::to_integer<int>(value) <= 1, Corrupt, reader.place(), ": a bool is ",
                 std::to_integer<int>(value), ", expected 0 or 1");
  }
}

// Steps over `count` values.
void skip_values(Reader& reader, GgufValueType type, uint64_t count) {
  if (type == GgufValueType::String) {
    for (uint64_t i = 0; i < count; ++i) reader.text("the length of a string", kMaxStringBytes);
    return;
  }
  // No overflow: at most 2^30 values of at most 8 bytes.
  const auto bytes = reader.take(count * gguf_value_bytes(type), "the value");
  if (type == GgufValueType::Bool) check_booleans(bytes, reader);
}

GgufValue read_value(Reader& reader, std::span<const std::byte> file) {
  auto type = read_value_type(reader, "the value's type");
  const bool array = type == GgufValueType::Array;
  uint64_t count = 1;
  if (array) {
    type = read_value_type(reader, "the array's type");
    PRUNUS_CHECK(type != GgufValueType::Array, Unsupported, reader.place(),
                 ": is an array of arrays, which no GGUF model uses");
    const uint64_t least = type == GgufValueType::String ? 8 : gguf_value_bytes(type);
    count = reader.count("the array's length", kMaxArray, least);
  }
  const uint64_t begin = reader.at();
  skip_values(reader, type, count);
  return {type, array, count, file.subspan(begin, reader.at() - begin), reader.place()};
}

uint64_t alignment_of(const GgufHeader& header, const std::string& where) {
  const auto found = header.metadata.find("general.alignment");
  if (found == header.metadata.end()) return kDefaultAlignment;
  const GgufValue& value = found->second;
  PRUNUS_CHECK(!value.is_array() && value.type() == GgufValueType::U32, Corrupt, where,
               ": metadata 'general.alignment': got ", value.is_array() ? "an array of " : "",
               gguf_value_type_name(value.type()), ", expected uint32");
  const auto alignment = static_cast<uint64_t>(value.integer());
  PRUNUS_CHECK(std::has_single_bit(alignment) && alignment >= 8, Corrupt, where,
               ": metadata 'general.alignment' is ", alignment,
               ", expected a power of two of at least 8");
  return alignment;
}

// Bytes of a tensor; Corrupt where a size is no int64, the product overflows or a row is no whole
// number of blocks.
uint64_t tensor_bytes(const GgufTensor& tensor, const std::string& place) {
  const auto elements = static_cast<uint64_t>(tensor.type->elements);
  uint64_t values = 1;
  bool empty = false;
  for (const int64_t size : tensor.shape) {
    empty = empty || size == 0;
    const auto product = checked_mul(values, static_cast<uint64_t>(std::max<int64_t>(size, 1)));
    PRUNUS_CHECK(product && *product <= kMaxSize, Corrupt, place, " has the sizes [",
                 c10::Join(", ", tensor.shape), "], whose product overflows 63 bits");
    values = *product;
  }
  PRUNUS_CHECK(tensor.columns() % tensor.type->elements == 0, Corrupt, place, " has rows of ",
               tensor.columns(), " values, expected a multiple of ", elements, ", the block of ",
               tensor.type->name);
  if (empty) return 0;
  const auto bytes = checked_mul(values / elements, static_cast<uint64_t>(tensor.type->bytes));
  PRUNUS_CHECK(bytes, Corrupt, place, " has ", values, " values of ", tensor.type->name,
               ", more bytes than 64 bits can count");
  return *bytes;
}

// Sizes as in the file, the fastest first; turned round.
std::vector<int64_t> read_shape(Reader& reader) {
  const auto rank = reader.number<uint32_t>("the number of dimensions");
  PRUNUS_CHECK(rank <= kMaxGgufRank, Corrupt, reader.place(), " has ", rank,
               " dimensions, at most ", kMaxGgufRank, " are allowed");
  std::vector<int64_t> shape(rank);
  for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
    const auto value = reader.number<uint64_t>("a size");
    PRUNUS_CHECK(value <= kMaxSize, Corrupt, reader.place(), " has the size ", value,
                 ", expected less than 2^63");
    *size = static_cast<int64_t>(value);
  }
  return shape;
}

// `begin` and `end` are still relative to the start of the data, which is not known yet.
GgufTensor read_tensor(Reader& reader, uint64_t alignment) {
  GgufTensor tensor;
  tensor.name = reader.text("the length of the name", kMaxNameBytes);
  PRUNUS_CHECK(!tensor.name.empty(), Corrupt, reader.place(), " has no name");
  reader.enter("tensor " + quote(tensor.name));
  tensor.shape = read_shape(reader);
  const auto type = reader.number<uint32_t>("the type");
  tensor.type = find_gguf_block_type(type);
  PRUNUS_CHECK(tensor.type != nullptr, Unsupported, reader.place(), " has the type ", type,
               ", which Prunus does not know; it reads ", readable_gguf_types());
  tensor.begin = reader.number<uint64_t>("the offset");
  PRUNUS_CHECK(tensor.begin % alignment == 0, Corrupt, reader.place(), " begins at data byte ",
               tensor.begin, ", expected a multiple of the alignment, ", alignment);
  const auto end = checked_add(tensor.begin, tensor_bytes(tensor, reader.place()));
  PRUNUS_CHECK(end, Corrupt, reader.place(), " begins at data byte ", tensor.begin,
               " and ends beyond 64 bits");
  tensor.end = *end;
  return tensor;
}

void read_metadata(Reader& reader, uint64_t count, std::span<const std::byte> file,
                   GgufHeader& header) {
  for (uint64_t i = 0; i < count; ++i) {
    reader.enter(c10::str("metadata ", i + 1, " of ", count));
    std::string key(reader.text("the length of the key", kMaxGgufKeyBytes));
    PRUNUS_CHECK(!key.empty(), Corrupt, reader.place(), " has no key");
    reader.enter("metadata " + quote(key));
    PRUNUS_CHECK(!header.metadata.contains(key), Corrupt, reader.place(), ": duplicate key");
    const auto added = header.metadata.emplace(std::move(key), read_value(reader, file)).first;
    header.keys.emplace_back(added->first);
  }
}

void read_tensors(Reader& reader, uint64_t count, uint64_t alignment, GgufHeader& header) {
  std::set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    reader.enter(c10::str("tensor ", i + 1, " of ", count));
    header.tensors.push_back(read_tensor(reader, alignment));
    PRUNUS_CHECK(names.insert(header.tensors.back().name).second, Corrupt, reader.place(),
                 ": duplicate name");
  }
}

// Makes offsets absolute, now that it is known where the data begin.
void place_tensors(std::vector<GgufTensor>& tensors, uint64_t data_begin, uint64_t file_bytes,
                   const std::string& where) {
  for (auto& tensor : tensors) {
    const auto end = checked_add(data_begin, tensor.end);
    PRUNUS_CHECK(end && *end <= file_bytes, Corrupt, where, ": tensor ", quote(tensor.name),
                 " ends at data byte ", tensor.end, ", but the file has ",
                 file_bytes - std::min(file_bytes, data_begin),
                 " bytes of data; incomplete download?");
    tensor.begin += data_begin;
    tensor.end = *end;
  }
}

void check_overlap(const std::vector<GgufTensor>& tensors, const std::string& where) {
  std::vector<const GgufTensor*> sorted;
  for (const auto& tensor : tensors) {
    if (tensor.bytes() > 0) sorted.push_back(&tensor);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    PRUNUS_CHECK(sorted[i - 1]->end <= sorted[i]->begin, Corrupt, where, ": tensor ",
                 quote(sorted[i]->name), " begins at byte ", sorted[i]->begin,
                 ", before the end of ", quote(sorted[i - 1]->name), " at ", sorted[i - 1]->end);
  }
}

}  // namespace

int64_t GgufTensor::rows() const {
  int64_t product = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

GgufHeader parse_gguf_header(std::span<const std::byte> file, const std::string& where) {
  Reader reader(file, where);
  read_version(reader);
  const uint64_t tensors = reader.count("the number of tensors", kMaxTensors, kMinTensorBytes);
  const uint64_t metadata = reader.count("the number of metadata", kMaxMetadata, kMinMetadataBytes);
  GgufHeader header;
  read_metadata(reader, metadata, file, header);
  const uint64_t alignment = alignment_of(header, where);
  read_tensors(reader, tensors, alignment, header);
  // No overflow: at most the file's size and 2^31.
  const uint64_t data_begin = (reader.at() + alignment - 1) / alignment * alignment;
  place_tensors(header.tensors, data_begin, file.size(), where);
  check_overlap(header.tensors, where);
  return header;
}

}  // namespace prunus
