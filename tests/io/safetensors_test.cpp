#include "prunus/io/safetensors.h"

#include <ATen/ATen.h>

#include "prunus/io/safetensors_dtype.h"

#include "tests/io/fixture.h"

namespace prunus::safetensors_test {
namespace {

using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::file_bytes;
using testing_io::put;
using testing_io::TempDir;

// 1.0f, -2.0f, 0.5f in little-endian IEEE 754.
const std::string kThreeFloats("\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f", 12);

TEST(Safetensors, ReadsAFileWrittenByHand) {
  const TempDir dir;
  const auto file = SafetensorsFile::open(put(
      dir / "a",
      file_bytes(R"({"w":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}})", kThreeFloats)));
  ASSERT_EQ(file->entries().size(), 1);
  const auto& entry = file->entries()[0];
  EXPECT_EQ(entry.name, "w");
  EXPECT_EQ(entry.dtype, at::kFloat);
  EXPECT_EQ(entry.dtype_name, "F32");
  EXPECT_EQ(entry.shape, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(entry.begin, 8 + 57);
  EXPECT_EQ(entry.bytes(), 12);
  EXPECT_EQ(entry.numel(), 3);
  EXPECT_TRUE(at::equal(file->view(entry), at::tensor({1.0f, -2.0f, 0.5f}).view({1, 3})));
}

TEST(Safetensors, OrdersTensorsByOffsetAndFindsThemByName) {
  const TempDir dir;
  const auto file = SafetensorsFile::open(
      put(dir / "a", file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},)"
                                R"("b":{"shape":[2],"data_offsets":[0,2],"dtype":"I8"}}   )",
                                "\x01\xff\x07")));
  ASSERT_EQ(file->entries().size(), 2);
  EXPECT_EQ(file->entries()[0].name, "b");
  EXPECT_EQ(file->view(*file->find("b"))[1].item<int>(), -1);
  EXPECT_EQ(file->view(*file->find("a"))[0].item<int>(), 7);
  EXPECT_EQ(file->find("c"), nullptr);
}

TEST(Safetensors, AcceptsEmptyTensorsScalarsAndMetadata) {
  const TempDir dir;
  const auto file = SafetensorsFile::open(
      put(dir / "a", file_bytes(R"({"__metadata__":{"format":"pt","x":""},)"
                                R"("empty":{"dtype":"F16","shape":[3,0,7],"data_offsets":[4,4]},)"
                                R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
                                kThreeFloats.substr(0, 4))));
  EXPECT_EQ(file->find("__metadata__"), nullptr);
  EXPECT_EQ(file->view(*file->find("empty")).sizes(), (std::vector<int64_t>{3, 0, 7}));
  EXPECT_EQ(file->view(*file->find("empty")).scalar_type(), at::kHalf);
  EXPECT_EQ(file->view(*file->find("scalar")).dim(), 0);
  EXPECT_EQ(file->view(*file->find("scalar")).item<float>(), 1.0f);
}

TEST(Safetensors, AcceptsAFileWithoutTensors) {
  const TempDir dir;
  EXPECT_TRUE(SafetensorsFile::open(put(dir / "a", file_bytes("{}", "")))->entries().empty());
}

TEST(Safetensors, KnowsTheSizeOfEveryElementType) {
  const TempDir dir;
  for (const auto& dtype : safetensors_dtypes()) {
    const size_t bytes = static_cast<size_t>(dtype.bits);  // 8 elements of `bits` bits
    const auto header = c10::str(R"({"t":{"dtype":")", dtype.name,
                                 R"(","shape":[4,2],"data_offsets":[0,)", bytes, "]}}");
    const auto file =
        SafetensorsFile::open(put(dir / "a", file_bytes(header, std::string(bytes, '\0'))));
    const auto& entry = file->entries()[0];
    EXPECT_EQ(entry.dtype_name, dtype.name);
    if (entry.dtype == at::ScalarType::Undefined) {
      EXPECT_EQ(error_of([&] { file->view(entry); }).kind(), ErrorKind::Unsupported);
    } else {
      EXPECT_EQ(file->view(entry).nbytes(), bytes) << dtype.name;
    }
  }
}

TEST(Safetensors, SharesTheMappingAndOutlivesTheFileObject) {
  const TempDir dir;
  auto file = SafetensorsFile::open(put(
      dir / "a",
      file_bytes(R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}     )", kThreeFloats)));
  ASSERT_EQ(file->entries()[0].begin % 4, 0);
  const auto view = file->view(file->entries()[0]);
  EXPECT_EQ(view.const_data_ptr(), file->view(file->entries()[0]).const_data_ptr());
  file->discard(file->entries()[0]);
  file->prefetch(file->entries()[0]);
  file.reset();
  EXPECT_EQ(view[2].item<float>(), 0.5f);
}

TEST(Safetensors, CopiesTensorsThatAreNotAligned) {
  const TempDir dir;
  for (size_t padding = 0; padding < 4; ++padding) {
    const auto header =
        R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})" + std::string(padding, ' ');
    const auto file = SafetensorsFile::open(put(dir / "a", file_bytes(header, kThreeFloats)));
    const auto view = file->view(file->entries()[0]);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.const_data_ptr()) % 4, 0);
    EXPECT_TRUE(at::equal(view, at::tensor({1.0f, -2.0f, 0.5f})));
  }
}

TEST(Safetensors, ReportsAMissingFileAndADirectory) {
  const TempDir dir;
  EXPECT_EQ(error_of([&] { SafetensorsFile::open(dir / "nothing"); }).kind(), ErrorKind::NotFound);
  EXPECT_EQ(error_of([&] { SafetensorsFile::open(dir.path()); }).kind(), ErrorKind::Io);
}

}  // namespace
}  // namespace prunus::safetensors_test
