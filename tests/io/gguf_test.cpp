#include "prunus/io/gguf.h"

#include <limits>
#include <random>

#include <ATen/ATen.h>

#include "tests/io/fixture.h"
#include "tests/io/gguf_fixture.h"
#include "tests/support/paths.h"

namespace prunus::gguf_test {
namespace {

using namespace testing_io;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kU8 = 0, kU32 = 4, kBool = 7, kString = 8, kArray = 9;
constexpr uint32_t kF32 = 0, kQ8 = 8;

// Two tensors of 32 bytes of data each, and metadata of some types.
GgufParts good() {
  return {.metadata = {entry("general.alignment", kU32, u32(32)),
                       entry("general.architecture", kString, text("llama")),
                       entry("flags", kArray, u32(kBool) + u64(3) + std::string("\1\0\1", 3)),
                       entry("words", kArray, u32(kString) + u64(2) + text("a") + text(""))},
          .tensors = {info("a", {4, 2}, kF32, 0), info("b", {8}, kF32, 32)},
          .data = std::string(64, '\x3f')};
}

GgufHeader parse(const std::string& file) {
  // A copy of the exact size, so that a sanitizer sees reads beyond it.
  const std::vector<char> copy(file.begin(), file.end());
  auto header = parse_gguf_header(std::as_bytes(std::span(copy)), "file");
  for (auto& [key, value] : header.metadata) EXPECT_FALSE(key.empty());
  header.metadata.clear();  // looks at the copy
  return header;
}

Error parse_error(const std::string& file) {
  return error_of([&] { parse(file); });
}

TEST(Gguf, ListsTensorsRowMajorWithTheirBytes) {
  const std::string file = good().bytes();
  const auto header = parse(file);
  ASSERT_EQ(header.tensors.size(), 2);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 4));
  EXPECT_EQ(header.tensors[0].rows(), 2);
  EXPECT_EQ(header.tensors[0].columns(), 4);
  EXPECT_EQ(header.tensors[0].begin, file.size() - 64);
  EXPECT_EQ(header.tensors[1].begin, file.size() - 32);
  EXPECT_EQ(header.tensors[1].end, file.size());
  EXPECT_EQ(header.tensors[1].rows(), 1);
}

TEST(Gguf, ReadsMetadataOfEveryType) {
  const auto file = GgufFile::open(test::source_path("tests/io/golden/every_type.gguf"));
  EXPECT_EQ(file->value("general.architecture").text(), "llama");
  EXPECT_EQ(file->value("scalar.uint8").integer(), 255);
  EXPECT_EQ(file->value("scalar.int8").integer(), -128);
  EXPECT_EQ(file->value("scalar.uint16").integer(), 65535);
  EXPECT_EQ(file->value("scalar.int16").integer(), -32768);
  EXPECT_EQ(file->value("scalar.uint32").integer(), 4294967295);
  EXPECT_EQ(file->value("scalar.int32").integer(), -2147483648LL);
  EXPECT_EQ(file->value("scalar.int64").integer(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(file->value("scalar.uint64").number(), 0x1p63);
  EXPECT_EQ(file->value("scalar.float32").number(), 0.1F);
  EXPECT_EQ(file->value("scalar.float64").number(), 0.1);
  EXPECT_EQ(file->value("scalar.int16").number(), -32768);
  EXPECT_TRUE(file->value("scalar.bool").boolean());
  EXPECT_EQ(file->value("scalar.string").text(), "Grüße, 世界");
}

TEST(Gguf, ReadsArraysOfEveryType) {
  const auto file = GgufFile::open(test::source_path("tests/io/golden/every_type.gguf"));
  EXPECT_THAT(file->value("array.uint8").integers(), ElementsAre(0, 7, 255));
  EXPECT_THAT(file->value("array.int8").integers(), ElementsAre(-128, 127));
  EXPECT_THAT(file->value("array.uint16").integers(), ElementsAre(1, 65535));
  EXPECT_THAT(file->value("array.int16").integers(), ElementsAre(-32768, 32767));
  EXPECT_THAT(file->value("array.uint32").integers(), ElementsAre(0, 4294967295));
  EXPECT_THAT(file->value("array.int32").integers(), ElementsAre(-2147483648LL, 2147483647));
  EXPECT_THAT(file->value("array.uint64").integers(),
              ElementsAre(1, std::numeric_limits<int64_t>::max()));
  EXPECT_THAT(file->value("array.int64").integers(),
              ElementsAre(std::numeric_limits<int64_t>::min(), 5));
  EXPECT_THAT(file->value("array.float32").numbers(), ElementsAre(0.5, -1.25));
  EXPECT_THAT(file->value("array.float64").numbers(), ElementsAre(1e300));
  EXPECT_THAT(file->value("array.uint8").numbers(), ElementsAre(0, 7, 255));
  EXPECT_THAT(file->value("array.bool").booleans(), ElementsAre(true, false, true));
  EXPECT_THAT(file->value("array.string").texts(), ElementsAre("", "a b", "é"));
  EXPECT_EQ(file->value("array.string").count(), 3);
  EXPECT_TRUE(file->value("array.string").is_array());
}

TEST(Gguf, ValuesOfAnotherTypeAreReported) {
  const auto path = test::source_path("tests/io/golden/every_type.gguf");
  const auto file = GgufFile::open(path);
  const auto message = [&](auto&& read, ErrorKind kind) {
    const auto error = error_of([&] { read(); });
    EXPECT_EQ(error.kind(), kind);
    return std::string(error.what());
  };
  EXPECT_EQ(message([&] { file->value("scalar.string").integer(); }, ErrorKind::Corrupt),
            path + ": metadata 'scalar.string': got string, expected an integer");
  EXPECT_THAT(message([&] { file->value("array.uint8").integer(); }, ErrorKind::Corrupt),
              HasSubstr("got an array of uint8, expected an integer"));
  EXPECT_THAT(message([&] { file->value("scalar.uint8").integers(); }, ErrorKind::Corrupt),
              HasSubstr("got uint8, expected an array of integers"));
  EXPECT_THAT(message([&] { file->value("scalar.bool").number(); }, ErrorKind::Corrupt),
              HasSubstr("got bool, expected a number"));
  EXPECT_THAT(message([&] { file->value("scalar.uint8").boolean(); }, ErrorKind::Corrupt),
              HasSubstr("got uint8, expected bool"));
  EXPECT_THAT(message([&] { file->value("array.bool").texts(); }, ErrorKind::Corrupt),
              HasSubstr("got an array of bool, expected an array of string"));
  EXPECT_THAT(message([&] { file->value("scalar.uint64").integer(); }, ErrorKind::Unsupported),
              HasSubstr("got 9223372036854775808, expected less than 2^63"));
  EXPECT_THAT(message([&] { file->value("absent"); }, ErrorKind::NotFound),
              HasSubstr("has no metadata 'absent'"));
  EXPECT_EQ(file->find_value("absent"), nullptr);
  EXPECT_EQ(file->find("absent"), nullptr);
}

struct Broken {
  void (*damage)(GgufParts&);
  ErrorKind kind;
  const char* message;
};

constexpr auto kCorrupt = ErrorKind::Corrupt;
constexpr auto kUnsupported = ErrorKind::Unsupported;

// Each line is good() with one thing broken.
const Broken kBroken[] = {
    // The first 24 bytes.
    {[](auto& f) { f.magic = "GGML"; }, kCorrupt, "starts with 'GGML', expected 'GGUF'"},
    {[](auto& f) { f.version = 0; }, kCorrupt, "version is 0, expected 3"},
    {[](auto& f) { f.version = 2; }, kUnsupported, "version is 2, expected 3"},
    {[](auto& f) { f.version = 4; }, kUnsupported, "version is 4, expected 3"},
    {[](auto& f) { f.version = 3 << 24; }, kUnsupported, "is big-endian"},
    {[](auto& f) { f.tensor_count = UINT64_MAX; }, kCorrupt, "tensors is 18446744073709551615, at"},
    {[](auto& f) { f.tensor_count = (1 << 20) + 1; }, kCorrupt, "at most 1048576 is allowed"},
    {[](auto& f) { f.tensor_count = 1 << 20; }, kCorrupt, "bytes follow; incomplete"},
    {[](auto& f) { f.tensor_count = 3; }, kCorrupt, "tensor 3 of 3"},
    {[](auto& f) { f.metadata_count = UINT64_MAX; }, kCorrupt, "metadata is 184467440737095516"},
    {[](auto& f) { f.metadata_count = (1 << 16) + 1; }, kCorrupt, "at most 65536 is allowed"},
    {[](auto& f) { f.metadata_count = 1 << 16; }, kCorrupt, "bytes follow; incomplete"},
    {[](auto& f) { f.metadata_count = 5; }, kCorrupt, "tensor 1 of 2: the length of the name"},
    // Metadata.
    {[](auto& f) { f.metadata[1] = entry("", kU8, "x"); }, kCorrupt, "metadata 2 of 4 has no key"},
    {[](auto& f) { f.metadata[1] = u64(65536) + std::string(65536, 'k'); }, kCorrupt,
     "metadata 2 of 4: the length of the key is 65536, at most 65535"},
    {[](auto& f) { f.metadata[1] = u64(UINT64_MAX); }, kCorrupt, "the length of the key"},
    {[](auto& f) { f.metadata[1] = f.metadata[2]; }, kCorrupt, "metadata 'flags': duplicate key"},
    {[](auto& f) { f.metadata[1] = entry("k", 13, "x"); }, kCorrupt,
     "metadata 'k': the value's type is 13, expected at most 12"},
    {[](auto& f) { f.metadata[1] = entry("k", 0xffffffff, "x"); }, kCorrupt, "is 4294967295"},
    {[](auto& f) { f.metadata[1] = entry("k", kBool, "\2"); }, kCorrupt,
     "metadata 'k': a bool is 2, expected 0 or 1"},
    {[](auto& f) { f.metadata[1] = entry("k", kString, u64(UINT64_MAX)); }, kCorrupt,
     "metadata 'k': the length of a string is 18446744073709551615, at most 1073741824"},
    {[](auto& f) { f.metadata[1] = entry("k", kString, u64(1 << 30)); }, kCorrupt,
     "bytes follow; incomplete"},
    {[](auto& f) { f.metadata[1] = entry("k", kArray, u32(13) + u64(1)); }, kCorrupt,
     "metadata 'k': the array's type is 13"},
    {[](auto& f) { f.metadata[1] = entry("k", kArray, u32(kArray) + u64(0)); }, kUnsupported,
     "metadata 'k': is an array of arrays"},
    {[](auto& f) { f.metadata[1] = entry("k", kArray, u32(kU8) + u64(UINT64_MAX)); }, kCorrupt,
     "metadata 'k': the array's length is 18446744073709551615, at most"},
    {[](auto& f) { f.metadata[1] = entry("k", kArray, u32(kString) + u64(1 << 30)); }, kCorrupt,
     "metadata 'k': the array's length is 1073741824, but only"},
    {[](auto& f) { f.metadata[1] = entry("k", kArray, u32(kBool) + u64(1) + "\7"); }, kCorrupt,
     "metadata 'k': a bool is 7"},
    {[](auto& f) { f.metadata[1] = entry("k", kArray, u32(kString) + u64(1) + u64(1 << 20)); },
     kCorrupt, "metadata 'k': the length of a string is 1048576, but only"},
    // The alignment.
    {[](auto& f) { f.metadata[0] = entry("general.alignment", kU32, u32(0)); }, kCorrupt,
     "'general.alignment' is 0, expected a power of two of at least 8"},
    {[](auto& f) { f.metadata[0] = entry("general.alignment", kU32, u32(4)); }, kCorrupt, "is 4"},
    {[](auto& f) { f.metadata[0] = entry("general.alignment", kU32, u32(24)); }, kCorrupt, "24"},
    {[](auto& f) { f.metadata[0] = entry("general.alignment", kU32, u32(1U << 31)); }, kCorrupt,
     "tensor 'b' begins at data byte 32, expected a multiple of the alignment, 2147483648"},
    {[](auto& f) { f.metadata[0] = entry("general.alignment", kU8, " "); }, kCorrupt,
     "'general.alignment': got uint8, expected uint32"},
    {[](auto& f) {
       f.metadata[0] = entry("general.alignment", kArray, u32(kU32) + u64(1) + u32(32));
     },
     kCorrupt, "'general.alignment': got an array of uint32, expected uint32"},
    // Tensors.
    {[](auto& f) { f.tensors[0] = info("", {8}, kF32, 0); }, kCorrupt, "tensor 1 of 2 has no name"},
    {[](auto& f) { f.tensors[0] = info(std::string(65, 'n'), {8}, kF32, 0); }, kCorrupt,
     "tensor 1 of 2: the length of the name is 65, at most 64"},
    {[](auto& f) { f.tensors[0] = u64(UINT64_MAX) + std::string(24, 'x'); }, kCorrupt,
     "the length of the name is 18446744073709551615"},
    {[](auto& f) { f.tensors[0] = info("b", {8}, kF32, 0); }, kCorrupt, "'b': duplicate name"},
    {[](auto& f) {
       f.tensors[0] = info("a", {1, 1, 1, 1, 8}, kF32, 0);
     },
     kCorrupt, "tensor 'a' has 5 dimensions, at most 4 are allowed"},
    {[](auto& f) { f.tensors[0] = info("a", {1ULL << 63}, kF32, 0); }, kCorrupt,
     "tensor 'a' has the size 9223372036854775808, expected less than 2^63"},
    {[](auto& f) {
       f.tensors[0] = info("a", {1ULL << 32, 1ULL << 31}, kF32, 0);
     },
     kCorrupt, "tensor 'a' has the sizes [2147483648, 4294967296], whose product overflows"},
    {[](auto& f) {
       f.tensors[0] = info("a", {0, 1ULL << 32, 1ULL << 31}, kF32, 0);
     },
     kCorrupt, "whose product overflows"},
    {[](auto& f) { f.tensors[0] = info("a", {(1ULL << 63) - 1}, kF32, 0); }, kCorrupt,
     "more bytes than 64 bits can count"},
    {[](auto& f) {
       f.tensors[0] = info("a", {4, 2}, 99, 0);
     },
     kUnsupported,
     "tensor 'a' has the type 99, which Prunus does not know; it reads F32 F16 Q4_0 Q4_1"},
    {[](auto& f) {
       f.tensors[0] = info("a", {4, 2}, 4, 0);
     },
     kUnsupported, "has the type 4"},
    {[](auto& f) {
       f.tensors[0] = info("a", {16, 2}, kQ8, 0);
     },
     kCorrupt, "tensor 'a' has rows of 16 values, expected a multiple of 32, the block of Q8_0"},
    {[](auto& f) { f.tensors[0] = info("a", {}, kQ8, 0); }, kCorrupt, "has rows of 1 values"},
    {[](auto& f) { f.tensors[0] = info("a", {7}, kF32, 4); }, kCorrupt,
     "tensor 'a' begins at data byte 4, expected a multiple of the alignment, 32"},
    {[](auto& f) { f.tensors[0] = info("a", {8}, kF32, UINT64_MAX - 31); }, kCorrupt,
     "tensor 'a' begins at data byte 18446744073709551584 and ends beyond 64 bits"},
    {[](auto& f) { f.tensors[0] = info("a", {7}, kF32, UINT64_MAX - 31); }, kCorrupt,
     "tensor 'a' ends at data byte 18446744073709551612, but the file has 64 bytes of data"},
    {[](auto& f) { f.tensors[0] = info("a", {8}, kF32, 64); }, kCorrupt,
     "tensor 'a' ends at data byte 96, but the file has 64 bytes of data; incomplete download?"},
    {[](auto& f) { f.tensors[0] = info("a", {9}, kF32, 0); }, kCorrupt, "before the end of 'a' at"},
    {[](auto& f) {
       f.tensors[0] = info("a", {4, 2}, kF32, 32);
     },
     kCorrupt, "before the end of"},
};

TEST(CorruptGguf, EveryFieldIsChecked) {
  EXPECT_NO_THROW(parse(good().bytes()));
  for (const auto& broken : kBroken) {
    GgufParts parts = good();
    broken.damage(parts);
    const auto error = parse_error(parts.bytes());
    EXPECT_EQ(error.kind(), broken.kind) << broken.message;
    EXPECT_THAT(error.what(), HasSubstr(broken.message));
    EXPECT_THAT(error.what(), ::testing::StartsWith("file: "));
  }
}

TEST(CorruptGguf, EveryTruncationIsNoticed) {
  const std::string whole = good().bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto error = parse_error(whole.substr(0, size));
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << size;
    EXPECT_THAT(error.what(), HasSubstr("incomplete download?")) << size;
  }
}

TEST(Gguf, WhatTheFormatAllowsIsAccepted) {
  GgufParts parts = good();
  parts.tensors = {info("later", {4}, kF32, 64), info("scalar", {}, kF32, 0),
                   info("none", {32, 0}, kQ8, 32), info("four", {1, 1, 1, 2}, kF32, 32)};
  parts.data = std::string(80, '\0');  // gaps, another order, no padding at the end
  const auto header = parse(parts.bytes());
  EXPECT_THAT(header.tensors[1].shape, ElementsAre());
  EXPECT_EQ(header.tensors[1].bytes(), 4);
  EXPECT_THAT(header.tensors[2].shape, ElementsAre(0, 32));
  EXPECT_EQ(header.tensors[2].bytes(), 0);
  EXPECT_THAT(header.tensors[3].shape, ElementsAre(2, 1, 1, 1));
  const TempDir dir;
  const auto file = GgufFile::open(put(dir / "f", parts.bytes()));
  for (const auto& tensor : file->tensors()) {
    EXPECT_EQ(file->read(tensor).sizes(), at::IntArrayRef(tensor.shape)) << tensor.name;
  }
  EXPECT_NO_THROW(parse(parts.bytes() + "more"));
  EXPECT_NO_THROW(parse(GgufParts{}.bytes()));  // a vocabulary has no tensors
}

TEST(Gguf, TheAlignmentOfTheFileIsUsed) {
  GgufParts parts = good();
  parts.metadata[0] = entry("general.alignment", kU32, u32(128));
  parts.tensors[1] = info("b", {8}, kF32, 128);
  parts.alignment = 128;
  parts.data = std::string(160, '\0');
  const std::string file = parts.bytes();
  EXPECT_EQ(parse(file).tensors[0].begin, file.size() - 160);
  parts.metadata.erase(parts.metadata.begin());
  parts.alignment = 32;  // the default
  EXPECT_EQ(parse(parts.bytes()).tensors[0].begin, parts.bytes().size() - 160);
}

TEST(CorruptGguf, MessagesStayShortAndFreeOfControlCharacters) {
  GgufParts parts = good();
  parts.metadata[1] = entry("\x1b[2J" + std::string(60'000, 'k'), 13, "");
  const std::string message = parse_error(parts.bytes()).what();
  EXPECT_LT(message.size(), 400);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(CorruptGguf, FilesThatAreNoGgufSayWhatTheyAre) {
  const TempDir dir;
  const auto message = [&](const std::string& content) {
    const auto path = put(dir / "model.gguf", content);
    return std::string(error_of([&] { GgufFile::open(path); }).what());
  };
  EXPECT_THAT(message(""), HasSubstr("the file ends at 0"));
  EXPECT_THAT(message("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
              HasSubstr("LFS"));
  EXPECT_EQ(error_of([&] { GgufFile::open(dir / "absent"); }).kind(), ErrorKind::NotFound);
}

// Opens and reads everything; true where the file was accepted.
bool survives(const std::string& path) {
  try {
    const auto file = GgufFile::open(path);
    for (const auto& [key, value] : file->metadata()) {
      if (value.is_array() && value.type() == GgufValueType::String) {
        EXPECT_EQ(value.texts().size(), value.count()) << key;
      }
    }
    for (const auto& tensor : file->tensors()) {
      EXPECT_LE(tensor.end, file->size_bytes());
      if (tensor.type->dequantize == nullptr) continue;
      EXPECT_EQ(file->read(tensor).numel(), tensor.rows() * tensor.columns());
    }
    return true;
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::Unsupported)
        << error.what();
    return false;
  }
}

TEST(CorruptGguf, MutatedFilesEitherOpenOrAreRefused) {
  const TempDir dir;
  const std::string whole = good().bytes();
  ASSERT_TRUE(survives(put(dir / "f", whole)));
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string mutant = whole;
    const int mutations = i < 2000 ? 1 : 1 + static_cast<int>(random() % 4);
    for (int m = 0; m < mutations; ++m) {
      // Half of the new bytes are small, as lengths and types are.
      const char value = static_cast<char>(random() % (random() % 2 ? 16 : 256));
      mutant[random() % mutant.size()] = value;
    }
    accepted += survives(put(dir / "f", mutant));
  }
  EXPECT_GT(accepted, 300);   // a changed weight or name is no fault of the format
  EXPECT_LT(accepted, 2000);  // most of the header is checked
}

}  // namespace
}  // namespace prunus::gguf_test
