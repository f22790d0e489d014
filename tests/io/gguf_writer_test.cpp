#include "prunus/io/gguf_writer.h"

#include <ATen/ATen.h>

#include "prunus/base/files.h"
#include "prunus/io/gguf.h"

#include "tests/io/fixture.h"
#include "tests/io/gguf_fixture.h"
#include "tests/support/paths.h"

namespace prunus::gguf_writer_test {
namespace {

using namespace testing_io;
using ::testing::HasSubstr;

std::vector<GgufTensorPlan> plan_of(const GgufFile& file) {
  std::vector<GgufTensorPlan> plan;
  for (const auto& tensor : file.tensors()) {
    plan.push_back({tensor.name, tensor.type, tensor.shape});
  }
  return plan;
}

// Metadata of every type, and tensors of every type that is read.
TEST(GgufWriter, WritesThePackagesBytes) {
  const TempDir dir;
  const std::string golden = test::source_path("tests/io/golden/every_type.gguf");
  const auto file = GgufFile::open(golden);
  std::vector<GgufEntry> metadata;
  for (const auto key : file->keys()) {
    metadata.push_back(GgufEntry::copy(std::string(key), file->value(key)));
  }
  EXPECT_EQ(metadata.size(), 25);
  GgufWriter writer(dir / "f.gguf", metadata, plan_of(*file));
  for (const auto& tensor : file->tensors()) writer.write(tensor.name, file->bytes(tensor));
  writer.finish();
  EXPECT_EQ(read_file(dir / "f.gguf"), read_file(golden));
}

GgufTensorPlan plan(std::string name, std::string_view type, std::vector<int64_t> shape) {
  return {std::move(name), find_gguf_block_type(type), std::move(shape)};
}

TEST(GgufWriter, AlignsAsTheMetadataSay) {
  const TempDir dir;
  GgufWriter writer(dir / "f", {GgufEntry::uint32("general.alignment", 256)},
                    {plan("a", "F32", {3}), plan("b", "F16", {2, 1})});
  const std::string a(12, 'a');
  const std::string b(4, 'b');
  writer.write("a", std::as_bytes(std::span(a)));
  writer.write("b", std::as_bytes(std::span(b)));
  writer.finish();
  const auto file = GgufFile::open(dir / "f");
  EXPECT_EQ(file->find("a")->begin % 256, 0);
  EXPECT_EQ(file->find("b")->begin, file->find("a")->begin + 256);
  EXPECT_EQ(file->size_bytes(), file->find("b")->begin + 256);
  EXPECT_EQ(file->find("b")->shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(read_file(dir / "f").substr(file->find("b")->begin, 6), b + std::string(2, '\0'));
}

TEST(GgufWriter, RefusesMetadataThatReadersRefuse) {
  const TempDir dir;
  const std::vector<std::pair<std::vector<GgufEntry>, std::string>> faults{
      {{GgufEntry::boolean("", true)}, "the key has 0 bytes"},
      {{GgufEntry::boolean(std::string(65536, 'k'), true)}, "the key has 65536 bytes"},
      {{GgufEntry::boolean("k", true), GgufEntry::uint32("k", 1)}, "'k' is given twice"},
      {{GgufEntry::uint32("general.alignment", 48)}, "a power of two of at least 8"},
      {{GgufEntry::uint32("general.alignment", 4)}, "a power of two of at least 8"},
      {{GgufEntry::uint64("general.alignment", 32)}, "must be a uint32"},
      {{GgufEntry::uint32s("general.alignment", {32})}, "must be a uint32"}};
  for (const auto& [metadata, message] : faults) {
    const auto error = error_of([&, &m = metadata] { GgufWriter(dir / "f", m, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(GgufWriter, RefusesPlansThatReadersRefuse) {
  const TempDir dir;
  const std::vector<std::pair<std::vector<GgufTensorPlan>, std::string>> faults{
      {{plan("", "F32", {1})}, "has 0 bytes"},
      {{plan(std::string(64, 'n'), "F32", {1})}, "has 64 bytes"},
      {{plan("t", "none", {1})}, "has no type"},
      {{plan("t", "F32", {1, 1, 1, 1, 1})}, "5 dimensions"},
      {{plan("t", "F32", {2, 0})}, "expected positive"},
      {{plan("t", "F32", {int64_t{1} << 40, int64_t{1} << 40})}, "overflow"},
      {{plan("t", "Q8_0", {2, 48})}, "rows of 48 values, expected a multiple of 32"},
      {{plan("t", "F32", {1}), plan("t", "F16", {1})}, "planned twice"}};
  for (const auto& [tensors, message] : faults) {
    const auto error = error_of([&, &t = tensors] { GgufWriter(dir / "f", {}, t); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(GgufWriter, HoldsItsCallerToThePlan) {
  const TempDir dir;
  const std::string bytes(8, '\0');
  const auto eight = std::as_bytes(std::span(bytes));
  GgufWriter writer(dir / "f", {}, {plan("a", "F32", {2}), plan("b", "F32", {2})});
  EXPECT_THAT(error_of([&] { writer.write("b", eight); }).what(), HasSubstr("expected 'a'"));
  EXPECT_THAT(error_of([&] { writer.write("a", eight.first(4)); }).what(),
              HasSubstr("has 4 bytes, planned were 8"));
  writer.write("a", eight);
  EXPECT_THAT(error_of([&] { writer.finish(); }).what(), HasSubstr("'b' and 0 after it"));
  writer.write("b", eight);
  EXPECT_THAT(error_of([&] { writer.write("c", eight); }).what(), HasSubstr("after the last"));
  writer.finish();
  EXPECT_THAT(error_of([&] { writer.finish(); }).what(), HasSubstr("finished already"));
}

TEST(GgufWriter, TellsWhereItCannotWrite) {
  const auto error = error_of([] { GgufWriter("/dev/null/f", {}, {}); });
  EXPECT_EQ(error.kind(), ErrorKind::Io);
  EXPECT_THAT(error.what(), HasSubstr("/dev/null/f"));
}

}  // namespace
}  // namespace prunus::gguf_writer_test
