#include <random>

#include <ATen/ATen.h>

#include "prunus/io/safetensors.h"

#include "tests/io/fixture.h"

namespace prunus::safetensors_corrupt_test {
namespace {

using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::file_bytes;
using testing_io::little_endian;
using testing_io::put;
using testing_io::TempDir;

struct Broken {
  std::string fields;  // of tensor "t"; 4 bytes of data follow the header
  const char* message;
};

std::string with_fields(const std::string& fields) {
  return file_bytes("{\"t\":{" + fields + "}}", "abcd");
}

const char* const kGood = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";

// Each line is kGood with one thing broken.
const Broken kBrokenFields[] = {
    {R"("shape":[1],"data_offsets":[0,4])", "has no dtype"},
    {R"("dtype":"F32","data_offsets":[0,4])", "has no shape"},
    {R"("dtype":"F32","shape":[1])", "has no data_offsets"},
    {R"("dtype":"F33","shape":[1],"data_offsets":[0,4])", "unknown dtype 'F33'; known: BOOL F4"},
    {R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", "unknown dtype 'f32'"},
    {R"("dtype":32,"shape":[1],"data_offsets":[0,4])", "dtype: got the number 32"},
    {R"("dtype":null,"shape":[1],"data_offsets":[0,4])", "dtype: got null, expected a string"},
    {R"("dtype":["F32"],"shape":[1],"data_offsets":[0,4])", "dtype: got an array"},
    {R"("dtype":"F32","shape":1,"data_offsets":[0,4])", "shape: got the number 1"},
    {R"("dtype":"F32","shape":"1","data_offsets":[0,4])", "shape: got the string '1'"},
    {R"("dtype":"F32","shape":{},"data_offsets":[0,4])", "shape: got an object"},
    {R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", "shape: got the number -1"},
    {R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])", "shape: got the number '1.0'"},
    {R"("dtype":"F32","shape":[true],"data_offsets":[0,4])", "shape: got a boolean"},
    {R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])", "shape: got an array"},
    {R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4])", "expected a non-neg"},
    {R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])", "overflows"},
    {R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])", "overflows"},
    {R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])", "64-bit sizes"},
    {R"("dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0])", "overflows"},
    {R"("dtype":"F4","shape":[7],"data_offsets":[0,4])", "no whole number of bytes"},
    {R"("dtype":"F6_E2M3","shape":[5],"data_offsets":[0,4])", "no whole number of bytes"},
    {R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", "span 4 bytes, but F32 of shape [2]"},
    {R"("dtype":"F32","shape":[],"data_offsets":[0,0])", "takes 4"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", "ends before it"},
    {R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", "the file has only 4"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[1,5])", "the file has only 4"},
    {R"("dtype":"U8","shape":[3],"data_offsets":[1,4])", "begins at data byte 1, expected 0"},
    {R"("dtype":"U8","shape":[3],"data_offsets":[0,3])", "trailing bytes"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[0])", "data_offsets has 1 numbers"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])", "data_offsets has more than 2"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[0,4.0])", "data_offsets: got the number '4.0'"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[-0,4])", "data_offsets: got the number 0"},
    {R"("dtype":"F32","shape":[1],"data_offsets":["0","4"])", "data_offsets: got the string"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0])", "ends before it"},
    {R"("dtype":"F32","shape":[1],"data_offsets":{"a":0})", "data_offsets: got an object"},
    {R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1)", "has the field 'x'"},
    {R"("dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4])", "duplicate key 'shape'"},
};

TEST(CorruptSafetensors, EveryFieldOfAnEntryIsChecked) {
  const TempDir dir;
  EXPECT_NO_THROW(SafetensorsFile::open(put(dir / "good", with_fields(kGood))));
  for (const auto& broken : kBrokenFields) {
    const auto path = put(dir / "broken", with_fields(broken.fields));
    const auto error = error_of([&] { SafetensorsFile::open(path); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << broken.fields;
    EXPECT_THAT(error.what(), HasSubstr(broken.message)) << broken.fields;
    EXPECT_THAT(error.what(), HasSubstr(path));
  }
}

TEST(CorruptSafetensors, TheHeaderAsAWholeIsChecked) {
  const std::string good = c10::str("{\"t\":{", kGood, "}}");
  const std::string u8 = R"({"dtype":"U8","shape":[2],"data_offsets":)";
  const std::vector<std::pair<std::string, const char*>> cases{
      {" " + good, "does not start with '{'"},
      {"[]", "does not start with '{'"},
      {"", "does not start with '{'"},
      {good.substr(0, good.size() - 1), "not valid JSON"},
      {good + "x", "not valid JSON"},
      {good + good, "not valid JSON"},
      {good + std::string(1, '\0') + "x", "zero byte"},
      {"{\"t\xff\":{" + std::string(kGood) + "}}", "not valid JSON"},
      {"{\"t\xc0\x80\":{" + std::string(kGood) + "}}", "not valid JSON"},
      {R"({"t":1})", "tensor 't': got the number 1, expected an object"},
      {R"({"t":[1]})", "tensor 't': got an array, expected an object"},
      {R"({"t":null})", "tensor 't': got null, expected an object"},
      {R"({"t":1e999})", "not valid JSON"},
      {"{\"t\":" + u8 + "[0,2]},\"t\":" + u8 + "[2,4]}}", "duplicate key 't'"},
      {"{\"t\":" + u8 + "[0,2]},\"\\u0074\":" + u8 + "[2,4]}}", "duplicate key 't'"},
      {"{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[1,3]}}", "(overlaps the one before)"},
      {"{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[0,2]}}", "(overlaps the one before)"},
      {"{\"a\":" + u8 + "[2,4]}}", "(a hole before it)"},
      {R"({"__metadata__":{"a":1},)" + good.substr(1), "__metadata__: got the number 1"},
      {R"({"__metadata__":{"a":{}},)" + good.substr(1), "__metadata__: got an object"},
      {R"({"__metadata__":null,)" + good.substr(1), "got null, expected an object"},
      {R"({"__metadata__":{"a":"","a":""},)" + good.substr(1), "duplicate key 'a'"},
      {R"({"__metadata__":{},"__metadata__":{},)" + good.substr(1), "duplicate key '__meta"},
  };
  const TempDir dir;
  for (const auto& [header, message] : cases) {
    const auto path = put(dir / "broken", file_bytes(header, "abcd"));
    const auto error = error_of([&] { SafetensorsFile::open(path); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << header;
    EXPECT_THAT(error.what(), HasSubstr(message)) << header;
  }
}

TEST(CorruptSafetensors, TheHeaderLengthIsCheckedBeforeAnythingIsAllocated) {
  const TempDir dir;
  const auto message = [&](const std::string& bytes) {
    const auto path = put(dir / "broken", bytes);
    const auto error = error_of([&] { SafetensorsFile::open(path); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt);
    return std::string(error.what());
  };
  EXPECT_THAT(message(""), HasSubstr("has 0 bytes"));
  EXPECT_THAT(message("1234567"), HasSubstr("has 7 bytes"));
  EXPECT_THAT(message(little_endian(0)), HasSubstr("does not start"));
  EXPECT_THAT(message(little_endian(3) + "{}"), HasSubstr("only 2 follow"));
  EXPECT_THAT(message(little_endian(10'000'000'000) + "{}"), HasSubstr("at most 100000000"));
  EXPECT_THAT(message(little_endian(100'000'001) + "{}"), HasSubstr("at most 100000000"));
  EXPECT_THAT(message(little_endian(100'000'000) + "{}"), HasSubstr("only 2 follow"));
  EXPECT_THAT(message(little_endian(UINT64_MAX) + "{}"), HasSubstr("at most 100000000"));
  EXPECT_THAT(message(little_endian(UINT64_MAX - 7) + "{}"), HasSubstr("at most 100000000"));
}

TEST(CorruptSafetensors, DeepNestingIsRefusedWithoutRecursion) {
  const TempDir dir;
  for (const char* open : {"{\"a\":", "{\"a\":{\"shape\":["}) {
    std::string header = open;
    for (int i = 0; i < 1'000'000; ++i) header += '[';
    const auto path = put(dir / "deep", file_bytes(header, ""));
    EXPECT_EQ(error_of([&] { SafetensorsFile::open(path); }).kind(), ErrorKind::Corrupt);
  }
}

TEST(CorruptSafetensors, AtMost64DimensionsAreAccepted) {
  const TempDir dir;
  const auto with_rank = [&](int rank) {
    std::string shape = "1";
    for (int i = 1; i < rank; ++i) shape += ",1";
    return put(dir / "rank",
               with_fields(R"("dtype":"F32","data_offsets":[0,4],"shape":[)" + shape + "]"));
  };
  EXPECT_EQ(SafetensorsFile::open(with_rank(64))->entries()[0].shape.size(), 64);
  EXPECT_THAT(error_of([&] { SafetensorsFile::open(with_rank(65)); }).what(),
              HasSubstr("more than 64"));
}

TEST(CorruptSafetensors, MessagesStayShortAndFreeOfControlCharacters) {
  const TempDir dir;
  const std::string name = "\\u001b[2J" + std::string(100'000, 'n');
  const auto path = put(dir / "long", file_bytes("{\"" + name + "\":1}", ""));
  const std::string message = error_of([&] { SafetensorsFile::open(path); }).what();
  EXPECT_LT(message.size(), 400);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

std::string three_tensors() {
  return file_bytes(R"({"__metadata__":{"format":"pt"},)"
                    R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
                    R"("c":{"dtype":"U8","shape":[0,5],"data_offsets":[32,32]}} )",
                    std::string(32, '\x3f'));
}

// Opens and reads everything; true where the file was accepted.
bool survives(const std::string& path, uint64_t size) {
  try {
    const auto file = SafetensorsFile::open(path);
    for (const auto& entry : file->entries()) {
      EXPECT_LE(entry.begin, entry.end);
      EXPECT_LE(entry.end, size);
      if (entry.dtype == at::ScalarType::Undefined) continue;
      const auto view = file->view(entry);
      EXPECT_EQ(view.nbytes(), entry.bytes());
      EXPECT_EQ(view.clone().nbytes(), entry.bytes());  // touches every byte
    }
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << error.what();
    return false;
  }
}

TEST(CorruptSafetensors, EveryTruncationIsNoticed) {
  const TempDir dir;
  const std::string whole = three_tensors();
  ASSERT_TRUE(survives(put(dir / "f", whole), whole.size()));
  std::mt19937 random(1);
  for (int i = 0; i < 50; ++i) {
    const size_t size = random() % whole.size();
    EXPECT_FALSE(survives(put(dir / "f", whole.substr(0, size)), size)) << size;
  }
  EXPECT_FALSE(survives(put(dir / "f", whole + "x"), whole.size() + 1));
}

TEST(CorruptSafetensors, MutatedFilesEitherOpenOrAreReportedAsCorrupt) {
  const TempDir dir;
  const std::string whole = three_tensors();
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 2500; ++i) {
    std::string mutant = whole;
    const int mutations = i < 2000 ? 1 : 1 + static_cast<int>(random() % 4);
    for (int m = 0; m < mutations; ++m) {
      // Half of the new bytes mean something in JSON, so that mutants get past the parser.
      constexpr std::string_view kTokens = "0123456789{}[]\",:-.eE \\";
      const char value =
          random() % 2 ? kTokens[random() % kTokens.size()] : static_cast<char>(random());
      mutant[random() % mutant.size()] = value;
    }
    accepted += survives(put(dir / "f", mutant), mutant.size());
  }
  EXPECT_GT(accepted, 50);    // a changed weight or name is no fault of the format
  EXPECT_LT(accepted, 2000);  // most of the header is checked
}

}  // namespace
}  // namespace prunus::safetensors_corrupt_test
