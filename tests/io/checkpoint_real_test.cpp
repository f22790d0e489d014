#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/io/checkpoint.h"
#include "prunus/io/checkpoint_writer.h"
#include "prunus/io/hf_directory.h"

#include "support/paths.h"
#include "tests/io/fixture.h"

namespace prunus::checkpoint_real_test {
namespace {

namespace fs = std::filesystem;
using testing_io::TempDir;

struct RealModel {
  const char* name;
  int64_t parameters;  // from the models' own README.md
  at::ScalarType dtype;
};

class RealCheckpoint : public ::testing::TestWithParam<RealModel> {
 protected:
  void SetUp() override {
    const std::string shared = test::shared_dir();
    PRUNUS_NEED_SHARED(shared);
    dir_ = shared + "/models/" + GetParam().name;
  }
  std::string dir_;
};

TEST_P(RealCheckpoint, HasTheParametersItsReadmeClaims) {
  const auto checkpoint = Checkpoint::open(dir_);
  int64_t parameters = 0;
  for (const auto& name : checkpoint.names()) {
    const auto tensor = checkpoint.read(name);
    EXPECT_EQ(tensor.scalar_type(), GetParam().dtype);
    EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
    parameters += tensor.numel();
  }
  EXPECT_EQ(parameters, GetParam().parameters);
  EXPECT_EQ(checkpoint.total_bytes(), parameters * c10::elementSize(GetParam().dtype));
  EXPECT_EQ(read_config(dir_).at("model_type"), "llama");
}

TEST_P(RealCheckpoint, SurvivesARoundTripThroughShards) {
  const auto original = Checkpoint::open(dir_);
  std::vector<TensorPlan> plans;
  for (const auto& name : original.names()) {
    plans.push_back({name, original.entry(name).dtype, original.entry(name).shape});
  }
  const TempDir out;
  CheckpointWriter writer(out.path(), plans, original.total_bytes() / 3);
  for (const auto& plan : writer.order()) writer.write(plan.name, original.read(plan.name));
  writer.finish();
  const auto copy = Checkpoint::open(out.path());
  EXPECT_GE(copy.files().size(), 3);
  EXPECT_EQ(copy.names(), original.names());
  for (const auto& name : copy.names()) {
    EXPECT_TRUE(at::equal(copy.read(name), original.read(name))) << name;
  }
}

TEST_P(RealCheckpoint, CopiesTheTokenizer) {
  const TempDir out;
  copy_companions(dir_, out.path());
  EXPECT_EQ(sha256_file(out / "tokenizer.json"), sha256_file(dir_ + "/tokenizer.json"));
  EXPECT_FALSE(fs::exists(out / "model.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(Models, RealCheckpoint,
                         ::testing::Values(RealModel{"babyllama-105", 936'448, at::kFloat},
                                           RealModel{"sapling-5m", 4'820'160, at::kBFloat16},
                                           RealModel{"stories260K", 260'032, at::kFloat}),
                         [](const auto& model) {
                           std::string name = model.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace prunus::checkpoint_real_test
