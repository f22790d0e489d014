#include "prunus/io/gguf_blocks.h"

#include <bit>
#include <cmath>
#include <random>
#include <set>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/io/gguf.h"
#include "prunus/io/safetensors.h"

#include "tests/io/fixture.h"
#include "tests/io/gguf_fixture.h"
#include "tests/support/paths.h"

namespace prunus::gguf_blocks_test {
namespace {

using namespace testing_io;
using ::testing::HasSubstr;

std::string golden(const std::string& name) {
  return test::source_path("tests/io/golden/every_type." + name);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kInt), b.contiguous().view(at::kInt));
}

const GgufBlockType& type_called(std::string_view name) {
  for (const auto& type : gguf_block_types()) {
    if (type.name == name) return type;
  }
  throw std::runtime_error("no such type");
}

std::vector<float> dequantized(std::string_view type, const std::string& block) {
  const GgufBlockType& found = type_called(type);
  EXPECT_EQ(static_cast<int64_t>(block.size()), found.bytes);
  std::vector<float> values(found.elements);
  found.dequantize(std::as_bytes(std::span(block)).data(), 1, values.data());
  return values;
}

TEST(GgufBlocks, EveryTypeEqualsThePackageBitForBit) {
  const auto file = GgufFile::open(golden("gguf"));
  const auto expected = SafetensorsFile::open(golden("safetensors"));
  ASSERT_EQ(file->tensors().size(), expected->entries().size());
  std::set<std::string_view> types;
  for (const auto& tensor : file->tensors()) {
    const auto* entry = expected->find(tensor.name);
    ASSERT_NE(entry, nullptr) << tensor.name;
    const auto values = file->read(tensor);
    EXPECT_EQ(tensor.shape, entry->shape) << tensor.name;
    EXPECT_EQ(values.sizes(), at::IntArrayRef(entry->shape)) << tensor.name;
    EXPECT_TRUE(same_bits(values, expected->view(*entry))) << tensor.name;
    types.insert(tensor.type->name);
  }
  std::set<std::string_view> readable;
  for (const auto& type : gguf_block_types()) {
    if (type.dequantize != nullptr) readable.insert(type.name);
  }
  EXPECT_EQ(types, readable);
  EXPECT_EQ(types.size(), 13);
}

TEST(GgufBlocks, RowsAreThoseOfTheWholeTensor) {
  const auto file = GgufFile::open(golden("gguf"));
  for (const auto& tensor : file->tensors()) {
    const auto whole = file->read(tensor).reshape({tensor.rows(), tensor.columns()});
    for (int64_t begin = 0; begin <= tensor.rows(); ++begin) {
      for (int64_t end = begin; end <= tensor.rows(); ++end) {
        EXPECT_TRUE(same_bits(file->rows(tensor, begin, end), whole.slice(0, begin, end)))
            << tensor.name << " " << begin << " " << end;
      }
    }
  }
}

// By hand: d = 0.5; byte i holds value i in its low half and value 16 + i in its high half.
TEST(GgufBlocks, FourBitsByHand) {
  const std::string half = little(0x3800, 2);
  std::string bytes;
  for (int i = 0; i < 16; ++i) bytes += static_cast<char>(i | (15 - i) << 4);
  const auto values = dequantized("Q4_0", half + bytes);
  const auto with_minimum = dequantized("Q4_1", half + little(0xc000, 2) + bytes);  // m = -2
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(values[i], 0.5F * (i - 8));
    EXPECT_EQ(values[16 + i], 0.5F * (7 - i));
    EXPECT_EQ(with_minimum[i], 0.5F * i - 2);
    EXPECT_EQ(with_minimum[16 + i], 0.5F * (15 - i) - 2);
  }
}

// By hand: d = 1, dmin = 2, scale 33 and minimum 7 in group 5, whose values are all 3.
TEST(GgufBlocks, FourBitsInGroupsByHand) {
  std::string scales(12, '\0');
  scales[1] = static_cast<char>(33 >> 4 << 6);          // high bits of group 5's scale
  scales[9] = static_cast<char>((33 & 15) | (7 << 4));  // low bits of scale and minimum
  std::string values(128, '\0');
  for (int i = 0; i < 32; ++i) values[64 + i] = 3 << 4;
  const auto got = dequantized("Q4_K", little(0x3c00, 2) + little(0x4000, 2) + scales + values);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(got[i], i / 32 == 5 ? 33 * 3 - 2 * 7 : 0) << i;
}

TEST(GgufBlocks, EveryHalfIsConverted) {
  for (int bits = 0; bits < 1 << 16; ++bits) {
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    double expected =
        std::ldexp(exponent == 0 ? fraction : 1024 + fraction, std::max(exponent, 1) - 25);
    if (exponent == 31) expected = fraction == 0 ? INFINITY : NAN;
    if (bits >> 15 != 0) expected = -expected;
    const float got = dequantized("F16", little(bits, 2))[0];
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << bits;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(float(expected))) << bits;
    }
  }
}

TEST(GgufBlocks, ThreadsChangeNothing) {
  constexpr int64_t kRows = 300;
  constexpr int64_t kColumns = 1024;
  std::mt19937 random(3);
  const int threads = at::get_num_threads();
  for (const auto& type : gguf_block_types()) {
    if (type.dequantize == nullptr || type.elements == 1) continue;
    std::string bytes(kRows * kColumns / type.elements * type.bytes, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() & 0x3b);  // no half is infinite
    const std::byte* from = std::as_bytes(std::span(bytes)).data();
    const auto one = at::empty({kRows, kColumns});
    const auto many = at::full({kRows, kColumns}, NAN);
    type.dequantize(from, kRows * kColumns / type.elements, one.mutable_data_ptr<float>());
    at::set_num_threads(4);
    dequantize_gguf_rows(type, from, kRows, kColumns, many.mutable_data_ptr<float>());
    at::set_num_threads(threads);
    EXPECT_TRUE(same_bits(one, many)) << type.name;
  }
}

TEST(GgufBlocks, TypesThatAreOnlyKnownAreRefusedWhenRead) {
  const TempDir dir;
  for (const auto& type : gguf_block_types()) {
    if (type.dequantize != nullptr) continue;
    const GgufParts parts{
        .tensors = {info("t", {static_cast<uint64_t>(type.elements)}, type.id, 0)},
        .data = std::string(type.bytes, '\0')};
    const auto file = GgufFile::open(put(dir / "f", parts.bytes()));
    const auto error = error_of([&] { file->read(file->tensors()[0]); });
    EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
    EXPECT_THAT(error.what(), HasSubstr(c10::str("tensor 't' has the type ", type.name, ";")));
  }
}

TEST(GgufBlocks, TheTableIsAscending) {
  const auto types = gguf_block_types();
  for (size_t i = 0; i < types.size(); ++i) {
    EXPECT_EQ(find_gguf_block_type(types[i].id), &types[i]);
    if (i > 0) {
      EXPECT_LT(types[i - 1].id, types[i].id);
    }
  }
  EXPECT_EQ(find_gguf_block_type(4), nullptr);
  EXPECT_EQ(find_gguf_block_type(1000), nullptr);
}

}  // namespace
}  // namespace prunus::gguf_blocks_test
