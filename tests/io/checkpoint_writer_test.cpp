#include "prunus/io/checkpoint_writer.h"

#include <filesystem>
#include <random>

#include <ATen/ATen.h>

#include "prunus/base/files.h"
#include "prunus/io/checkpoint.h"

#include "tests/io/fixture.h"

namespace prunus::checkpoint_writer_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::file_bytes;
using testing_io::TempDir;

using Tensors = std::map<std::string, at::Tensor>;

std::vector<TensorPlan> plan_of(const Tensors& tensors) {
  std::vector<TensorPlan> plan;
  for (const auto& [name, tensor] : tensors) {
    plan.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  return plan;
}

void write_all(const std::string& dir, const Tensors& tensors, uint64_t max_shard_bytes = 1 << 20) {
  CheckpointWriter writer(dir, plan_of(tensors), max_shard_bytes);
  for (const auto& plan : writer.order()) writer.write(plan.name, tensors.at(plan.name));
  writer.finish();
}

Tensors samples() {
  at::manual_seed(7);
  return {{"half", at::randn({3, 5}).to(at::kHalf)},
          {"brain", at::randn({2, 2}).to(at::kBFloat16)},
          {"float", at::randn({4, 3})},
          {"scalar", at::scalar_tensor(2.5f)},
          {"empty", at::empty({3, 0, 2}, at::kHalf)},
          {"odd", at::randn({1}).to(at::kBFloat16)}};
}

void expect_equal(const Checkpoint& checkpoint, const Tensors& tensors) {
  EXPECT_EQ(checkpoint.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto read = checkpoint.read(name);
    EXPECT_EQ(read.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(read, tensor)) << name;
  }
}

TEST(CheckpointWriter, WritesExactlyTheReferenceBytes) {
  const TempDir dir;
  const Tensors tensors{{"a", at::tensor({1.0f}).to(at::kHalf)},
                        {"b", at::tensor({1.0f, -2.0f}).view({1, 2})},
                        {"\"\xc3\xa9", at::scalar_tensor(1.0f).to(at::kBFloat16)}};
  write_all(dir.path(), tensors);
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      "\"\\\"\xc3\xa9\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]},"
      R"("a":{"dtype":"F16","shape":[1],"data_offsets":[10,12]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\x80\x3f\x00\x3c", 12);
  EXPECT_EQ(read_file(dir / "model.safetensors"), file_bytes(header + padding, data));
  EXPECT_FALSE(fs::exists(dir / "model.safetensors.index.json"));
}

TEST(CheckpointWriter, RoundTripsEveryDtypeAndShape) {
  const TempDir dir;
  write_all(dir.path(), samples());
  const auto checkpoint = Checkpoint::open(dir.path());
  expect_equal(checkpoint, samples());
  EXPECT_EQ(checkpoint.files(), std::vector{dir / "model.safetensors"});
  for (const auto& name : checkpoint.names()) {
    const auto& entry = checkpoint.entry(name);
    EXPECT_EQ(entry.begin % c10::elementSize(entry.dtype), 0) << name;
  }
}

TEST(CheckpointWriter, RoundTripsShards) {
  for (const uint64_t max_shard_bytes : {0, 1, 30, 32, 60, 90}) {
    const TempDir dir;
    write_all(dir.path(), samples(), max_shard_bytes);
    const auto checkpoint = Checkpoint::open(dir.path());
    expect_equal(checkpoint, samples());
    EXPECT_GT(checkpoint.files().size(), 1);
    for (const auto& file : checkpoint.files()) {
      const auto shard = SafetensorsFile::open(file);
      uint64_t bytes = 0;
      for (const auto& entry : shard->entries()) bytes += entry.bytes();
      EXPECT_TRUE(bytes <= max_shard_bytes || shard->entries().size() == 1) << file;
    }
  }
}

TEST(CheckpointWriter, FillsShardsInTheOrderOfThePlan) {
  const TempDir dir;
  CheckpointWriter writer(
      dir.path(), {{"z", at::kFloat, {1}}, {"b", at::kHalf, {2}}, {"a", at::kHalf, {2}}}, 8);
  std::vector<std::string> order;
  for (const auto& plan : writer.order()) order.push_back(plan.name);
  EXPECT_EQ(order, (std::vector<std::string>{"z", "b", "a"}));
  writer.write("z", at::zeros({1}));
  writer.write("b", at::zeros({2}, at::kHalf));
  writer.write("a", at::zeros({2}, at::kHalf));
  EXPECT_FALSE(fs::exists(dir / "model.safetensors.index.json"));  // comes last
  writer.finish();
  EXPECT_EQ(read_file(dir / "model.safetensors.index.json"),
            R"({
  "metadata": {
    "total_size": 12
  },
  "weight_map": {
    "a": "model-00002-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "z": "model-00001-of-00002.safetensors"
  }
}
)");
}

TEST(CheckpointWriter, WritesTheSameBytesAgain) {
  for (const uint64_t max_shard_bytes : {40, 1'000'000}) {
    const TempDir first;
    const TempDir second;
    write_all(first.path(), samples(), max_shard_bytes);
    write_all(second.path(), samples(), max_shard_bytes);
    for (const auto& item : fs::directory_iterator(first.path())) {
      const auto name = item.path().filename().string();
      EXPECT_EQ(read_file(first / name), read_file(second / name)) << name;
    }
  }
}

TEST(CheckpointWriter, WritesAnEmptyCheckpoint) {
  const TempDir dir;
  write_all(dir.path(), {});
  EXPECT_TRUE(Checkpoint::open(dir.path()).names().empty());
}

TEST(CheckpointWriter, RefusesPlansThatNoReaderWouldAccept) {
  const TempDir dir;
  const int64_t huge = int64_t{1} << 40;
  const std::vector<std::vector<TensorPlan>> plans{
      {{"a", at::kFloat, {1}}, {"a", at::kHalf, {1}}},
      {{"__metadata__", at::kFloat, {1}}},
      {{"a\xff", at::kFloat, {1}}},
      {{"a", at::kDouble, {1}}},
      {{"a", at::ScalarType::Undefined, {1}}},
      {{"a", at::kFloat, {-1}}},
      {{"a", at::kFloat, {huge, huge}}},
      {{"a", at::kFloat, {0, huge, huge}}},
  };
  for (const auto& plan : plans) {
    EXPECT_EQ(error_of([&] { CheckpointWriter(dir.path(), plan); }).kind(),
              ErrorKind::InvalidArgument)
        << plan[0].name;
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(CheckpointWriter, RefusesTensorsThatWereNotPlannedThatWay) {
  const TempDir dir;
  CheckpointWriter writer(dir.path(), {{"a", at::kFloat, {2, 3}}, {"b", at::kFloat, {1}}});
  const auto refused = [&](const char* name, const at::Tensor& tensor) {
    const auto error = error_of([&] { writer.write(name, tensor); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    return std::string(error.what());
  };
  EXPECT_THAT(refused("b", at::zeros({1})), HasSubstr("expected 'a'"));
  EXPECT_THAT(refused("a", at::Tensor()), HasSubstr("must be contiguous"));
  EXPECT_THAT(refused("a", at::zeros({3, 2}).t()), HasSubstr("must be contiguous"));
  EXPECT_THAT(refused("a", at::zeros({2, 3}, at::kHalf)), HasSubstr("planned was Float [2, 3]"));
  EXPECT_THAT(refused("a", at::zeros({6})), HasSubstr("is Float [6]"));
  writer.write("a", at::zeros({2, 3}));
  EXPECT_THAT(error_of([&] { writer.finish(); }).what(), HasSubstr("'b'"));
  writer.write("b", at::zeros({1}));
  EXPECT_THAT(refused("b", at::zeros({1})), HasSubstr("after the last"));
  writer.finish();
  EXPECT_EQ(error_of([&] { writer.finish(); }).kind(), ErrorKind::InvalidArgument);
}

TEST(CheckpointWriter, ReportsAFullDisk) {
  if (!fs::is_character_file("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const TempDir dir;
  fs::create_symlink("/dev/full", dir / "model.safetensors");
  CheckpointWriter writer(dir.path(), {{"a", at::kFloat, {1000}}});
  const auto error = error_of([&] { writer.write("a", at::zeros({1000})); });
  EXPECT_EQ(error.kind(), ErrorKind::Io);
  EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
  EXPECT_THAT(error.what(), HasSubstr(dir / "model.safetensors"));
}

TEST(CheckpointWriter, ReportsAMissingDirectory) {
  CheckpointWriter writer("no-such-directory", {{"a", at::kFloat, {1}}});
  EXPECT_EQ(error_of([&] { writer.write("a", at::zeros({1})); }).kind(), ErrorKind::Io);
}

TEST(CheckpointWriter, RoundTripsRandomPlans) {
  std::mt19937 random(3);
  const at::ScalarType dtypes[] = {at::kFloat, at::kHalf, at::kBFloat16};
  for (int round = 0; round < 20; ++round) {
    Tensors tensors;
    for (int i = 0; i < 12; ++i) {
      std::vector<int64_t> shape;
      for (unsigned d = random() % 4; d > 0; --d) shape.push_back(random() % 5);
      tensors[c10::str("model.layers.", i, ".w")] =
          at::full(shape, static_cast<double>(i) + 0.5, dtypes[random() % 3]);
    }
    const TempDir dir;
    write_all(dir.path(), tensors, random() % 400);
    expect_equal(Checkpoint::open(dir.path()), tensors);
  }
}

}  // namespace
}  // namespace prunus::checkpoint_writer_test
