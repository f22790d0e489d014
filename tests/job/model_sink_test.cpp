#include "prunus/job/model_sink.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/job/output.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::model_sink_test {
namespace {

/// Wants the tensors last to first, and writes down what it is told.
class Backwards : public ModelSink {
 public:
  std::vector<const FileTensor*> begin(const Model&, std::span<const FileTensor> tensors) override {
    said.emplace_back("begin");
    std::vector<const FileTensor*> order;
    for (size_t i = tensors.size(); i-- > 0;) order.push_back(&tensors[i]);
    return order;
  }
  void tensor(const FileTensor& tensor, const at::Tensor& value) override {
    EXPECT_EQ(value.sizes(), at::IntArrayRef(tensor.shape));
    EXPECT_TRUE(value.is_contiguous());
    said.push_back(tensor.name);
  }
  void finish(const Model&) override { said.emplace_back("finish"); }

  std::vector<std::string> said;
};

TEST(WriteModel, HandsEveryTensorOverInTheOrderThatTheSinkWants) {
  const Model model = tiny_model({.layers = 1});
  Backwards sink;
  write_model(model, sink);
  std::vector<std::string> expected = {"finish"};
  const std::vector<FileTensor> tensors = file_tensors(model.tensors());
  for (const FileTensor& tensor : tensors) expected.push_back(tensor.name);
  expected.emplace_back("begin");
  std::reverse(expected.begin(), expected.end());
  EXPECT_EQ(sink.said, expected);
}

TEST(WriteModel, AWeightThatIsNotFiniteReachesNoSink) {
  const TinySizes sizes{.layers = 1};
  const Model model = tiny_model(sizes);
  const auto weights = copy_weights(model);
  const std::string name = file_tensors(model.tensors()).front().name;
  weights->tensors.at(name).flatten()[0] = std::numeric_limits<float>::quiet_NaN();
  const Model broken(model.config(), weights);
  Backwards sink;
  expect_error(ErrorKind::Corrupt, name, [&] { write_model(broken, sink); });
  EXPECT_EQ(std::count(sink.said.begin(), sink.said.end(), name), 0);
  EXPECT_NE(sink.said.back(), "finish");
}

TEST(SafetensorsSink, WritesAModelReadFromADirectoryInTheSameBytes) {
  const TempDir dir;
  const TinySizes sizes;
  save_model(tiny_model(sizes), tiny_config(sizes), dir / "in");
  write_file(dir / "in/generation_config.json", "{}");
  std::filesystem::create_directory(dir / "out");
  const Model model = open_model(dir / "in");
  write_model(model, dir / "in", dir / "out");
  for (const char* name : {"model.safetensors", "generation_config.json", "tokenizer.json"}) {
    EXPECT_EQ(read_file(dir / ("in/" + std::string(name))),
              read_file(dir / ("out/" + std::string(name))))
        << name;
  }
  EXPECT_EQ(open_model(dir / "out").parameters(), model.parameters());
}

}  // namespace
}  // namespace prunus::test::model_sink_test
