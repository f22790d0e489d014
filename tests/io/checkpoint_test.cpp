#include "prunus/io/checkpoint.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/io/hf_directory.h"
#include "prunus/io/safetensors_index.h"

#include "tests/io/fixture.h"

namespace prunus::checkpoint_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::file_bytes;
using testing_io::put;
using testing_io::TempDir;

constexpr const char* kIndex = "model.safetensors.index.json";

// One tensor of two F32 zeros under each name.
std::string shard(const std::vector<std::string>& names) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    header += c10::str(i == 0 ? "" : ",", '"', names[i], R"(":{"dtype":"F32","shape":[2],)",
                       R"("data_offsets":[)", 8 * i, ",", 8 * i + 8, "]}");
  }
  return file_bytes(header + "}", std::string(8 * names.size(), '\0'));
}

TEST(Checkpoint, OpensASingleFile) {
  const TempDir dir;
  put(dir / "model.safetensors", shard({"b", "a"}));
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.dir(), dir.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(checkpoint.total_bytes(), 16);
  EXPECT_TRUE(checkpoint.contains("a"));
  EXPECT_FALSE(checkpoint.contains("c"));
  checkpoint.prefetch("a");
  checkpoint.release("a");
  EXPECT_TRUE(at::equal(checkpoint.read("a"), at::zeros({2})));
  const auto error = error_of([&] { checkpoint.read("lm_head.weight"); });
  EXPECT_EQ(error.kind(), ErrorKind::NotFound);
  EXPECT_THAT(error.what(), HasSubstr("'lm_head.weight'"));
  EXPECT_THAT(error.what(), HasSubstr(dir.path()));
}

TEST(Checkpoint, OpensShardsThroughTheIndex) {
  const TempDir dir;
  put(dir / "y.safetensors", shard({"a"}));
  put(dir / "x.safetensors", shard({"c", "b"}));
  put(dir / kIndex, R"({"metadata":{"total_size":1,"deep":[[{}]]},"extra":[1],
    "weight_map":{"a":"y.safetensors","b":"x.safetensors","c":"x.safetensors"}})");
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(checkpoint.files(), (std::vector{dir / "x.safetensors", dir / "y.safetensors"}));
  EXPECT_EQ(checkpoint.read("c").numel(), 2);
}

TEST(Checkpoint, TensorsOutliveTheCheckpoint) {
  const TempDir dir;
  put(dir / "model.safetensors", shard({"a"}));
  at::Tensor tensor;
  {
    const auto checkpoint = Checkpoint::open(dir.path());
    const Checkpoint copy = checkpoint;
    tensor = copy.read("a");
  }
  EXPECT_TRUE(at::equal(tensor, at::zeros({2})));
}

TEST(Checkpoint, RefusesToReadWhatIsNoWeight) {
  const TempDir dir;
  put(dir / "model.safetensors",
      file_bytes(R"({"q":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},)"
                 R"("f4":{"dtype":"F4","shape":[2],"data_offsets":[2,3]}})",
                 "abc"));
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.entry("q").dtype_name, "F8_E4M3");
  for (const char* name : {"q", "f4"}) {
    const auto error = error_of([&] { checkpoint.read(name); });
    EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
    EXPECT_THAT(error.what(), HasSubstr(c10::str("'", name, "'")));
    EXPECT_THAT(error.what(), HasSubstr(checkpoint.entry(name).dtype_name));
  }
}

TEST(Checkpoint, SaysWhatItFoundWhereThereAreNoWeights) {
  const TempDir dir;
  const auto message = [&] {
    const auto error = error_of([&] { Checkpoint::open(dir.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::NotFound);
    return std::string(error.what());
  };
  EXPECT_THAT(message(), HasSubstr("found nothing"));
  put(dir / "config.json", "{}");
  EXPECT_THAT(message(), HasSubstr("found 'config.json'"));
  EXPECT_THAT(message(), Not(HasSubstr("pickle")));
  put(dir / "pytorch_model-00001-of-00002.bin", "");
  EXPECT_THAT(message(), HasSubstr("can run code"));
  for (int i = 0; i < 20; ++i) put(dir / std::to_string(i), "");
  EXPECT_THAT(message(), HasSubstr("and 10 more"));
}

TEST(Checkpoint, ReportsAMissingDirectoryOrAFileInItsPlace) {
  const TempDir dir;
  EXPECT_THAT(error_of([&] { Checkpoint::open(dir / "none"); }).what(),
              HasSubstr("no such directory"));
  const auto file = put(dir / "model.gguf", "");
  const auto error = error_of([&] { Checkpoint::open(file); });
  EXPECT_EQ(error.kind(), ErrorKind::NotFound);
  EXPECT_THAT(error.what(), HasSubstr("is a file"));
}

TEST(Checkpoint, NamesAMissingShard) {
  const TempDir dir;
  put(dir / "x.safetensors", shard({"a"}));
  put(dir / kIndex, R"({"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})");
  const auto error = error_of([&] { Checkpoint::open(dir.path()); });
  EXPECT_EQ(error.kind(), ErrorKind::NotFound);
  EXPECT_THAT(error.what(), HasSubstr("y.safetensors"));
  EXPECT_THAT(error.what(), HasSubstr("incomplete download?"));
}

TEST(Checkpoint, IndexAndShardsMustAgree) {
  const TempDir dir;
  put(dir / "x.safetensors", shard({"a", "b"}));
  put(dir / "y.safetensors", shard({"b", "c"}));
  const std::vector<std::pair<std::string, const char*>> cases{
      {R"({"a":"x.safetensors"})", "'b' is not in"},
      {R"({"a":"x.safetensors","b":"x.safetensors","c":"y.safetensors"})", "stored twice"},
      {R"({"a":"x.safetensors","b":"y.safetensors","c":"y.safetensors"})", "stored twice"},
  };
  for (const auto& [weight_map, message] : cases) {
    put(dir / kIndex, "{\"weight_map\":" + weight_map + "}");
    const auto error = error_of([&] { Checkpoint::open(dir.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << weight_map;
    EXPECT_THAT(error.what(), HasSubstr(message)) << weight_map;
  }
}

TEST(Checkpoint, WarnsOfNamesInTheIndexThatNoFileHolds) {
  const TempDir dir;
  put(dir / "x.safetensors", shard({"a"}));
  put(dir / kIndex, R"({"weight_map":{"a":"x.safetensors","b":"x.safetensors","c":"x.safetensors",)"
                    R"("d":"x.safetensors","e":"x.safetensors"}})");
  testing::internal::CaptureStderr();
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(checkpoint.names(), std::vector<std::string>{"a"});
  EXPECT_THAT(said, HasSubstr("names 4 of 5 tensors that no file holds: 'b', 'c', 'd' and 1 more"));
}

TEST(Checkpoint, NamesWhatStandsInForAFile) {
  const TempDir dir;
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, '0') +
      "\nsize 1044992\n";
  for (const std::string& page :
       {pointer, std::string("<!DOCTYPE html><html></html>"), std::string("\n<HTML lang=x>")}) {
    const char* expected = page == pointer ? "git lfs pull" : "is a web page";
    put(dir / "model.safetensors", page);
    EXPECT_THAT(error_of([&] { Checkpoint::open(dir.path()); }).what(), HasSubstr(expected));
    fs::remove(dir / "model.safetensors");
    put(dir / kIndex, page);
    const auto error = error_of([&] { Checkpoint::open(dir.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt);
    EXPECT_THAT(error.what(), HasSubstr(expected));
    put(dir / "config.json", page);
    EXPECT_THAT(error_of([&] { read_config(dir.path()); }).what(), HasSubstr(expected));
  }
}

TEST(SafetensorsIndex, RefusesNamesThatLeaveTheDirectory) {
  const TempDir dir;
  put(dir / "x.safetensors", shard({"a"}));
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "", "..", ".", "sub/x.safetensors",
        R"(sub\\x.safetensors)", "x\\u0000.safetensors", "a..b.safetensors", "pytorch_model.bin"}) {
    put(dir / kIndex, c10::str(R"({"weight_map":{"a":")", name, "\"}}"));
    const auto error = error_of([&] { Checkpoint::open(dir.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << name;
    EXPECT_THAT(error.what(), HasSubstr("'a' is placed in")) << name;
  }
}

TEST(SafetensorsIndex, RefusesBrokenJson) {
  const TempDir dir;
  const std::string good = R"({"weight_map":{"a":"x.safetensors"}})";
  const std::vector<std::pair<std::string, const char*>> cases{
      {"", "not valid JSON"},
      {"1", "is a number, expected an object"},
      {"[]", "is an array, expected an object"},
      {"\"a\"", "is a string, expected an object"},
      {"{}", "has no weight_map"},
      {R"({"metadata":{"weight_map":{}}})", "has no weight_map"},
      {R"({"weight_map":null})", "weight_map is null"},
      {R"({"weight_map":[]})", "weight_map is an array"},
      {R"({"weight_map":"x"})", "weight_map is a string"},
      {R"({"weight_map":{"a":1}})", "'a' maps to a number"},
      {R"({"weight_map":{"a":{}}})", "'a' maps to an object"},
      {R"({"weight_map":{"a":["x"]}})", "'a' maps to an array"},
      {R"({"weight_map":{"a":"x.safetensors","a":"x.safetensors"}})", "duplicate key 'a'"},
      {R"({"weight_map":{},"weight_map":{}})", "duplicate key 'weight_map'"},
      {good + "x", "not valid JSON"},
      {good + std::string(1, '\0') + "x", "zero byte"},
      {R"({"metadata":)" + std::string(100'000, '['), "nested deeper"},
  };
  for (const auto& [text, message] : cases) {
    const auto path = put(dir / kIndex, text);
    const auto error = error_of([&] { read_safetensors_index(path); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << text.substr(0, 60);
    EXPECT_THAT(error.what(), HasSubstr(message)) << text.substr(0, 60);
  }
}

TEST(SafetensorsIndex, ReadsAHundredThousandTensorsInLinearTime) {
  const TempDir dir;
  WeightMap weight_map;
  for (int i = 0; i < 100'000; ++i) weight_map[c10::str("experts.", i)] = "x.safetensors";
  const auto path = put(dir / kIndex, safetensors_index_text(weight_map, 1));
  EXPECT_EQ(read_safetensors_index(path), weight_map);
}

}  // namespace
}  // namespace prunus::checkpoint_test
