// LoRA training by stock PEFT and torch.optim.AdamW (tools/make_lora_goldens.py), replayed.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/adapter/peft.h"
#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/io/safetensors.h"
#include "prunus/train/schedule.h"
#include "prunus/train/train_model.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::lora_golden_test {
namespace {

constexpr int64_t kMicroBatches = 2;

at::Tensor tensor_of(const std::string& path, const char* name) {
  const auto file = SafetensorsFile::open(path);
  const TensorEntry* entry = file->find(name);
  PRUNUS_CHECK(entry != nullptr, NotFound, path, ": no ", name);
  return file->view(*entry).clone();
}

class LoraGolden : public testing::TestWithParam<const char*> {
 protected:
  const std::string base = c10::str(source_path("tests/model/golden/"), GetParam());
  const std::string dir = c10::str(source_path("tests/adapter/golden/"), GetParam());
  const Model model = open_model(base);
  const Json golden = read_json(dir + "/golden.json");
  const at::Tensor ids = tensor_of(dir + "/batches.safetensors", "ids").to(at::kLong);
  const at::Tensor scored = tensor_of(dir + "/batches.safetensors", "scored").to(at::kBool);

  ScheduleOptions schedule() const {
    return {.kind = ScheduleKind::Linear,
            .lr = golden.at("lr").get<double>(),
            .warmup_steps = golden.at("warmup_steps").get<int64_t>(),
            .total_steps = golden.at("steps").get<int64_t>()};
  }

  LossSums add_gradients(TrainModel& trained, int64_t step) const {
    const double scale = 1.0 / scored[step].sum().item<double>();
    LossSums sums;
    for (int64_t micro = 0; micro < kMicroBatches; ++micro) {
      const TrainBatch batch{ids[step][micro], scored[step][micro],
                             scored[step][micro].sum().item<int64_t>()};
      sums += trained.run(batch, {.weights = {}, .seams = {}, .scale = scale});
    }
    return sums;
  }
};

TEST_P(LoraGolden, FiftyStepsHaveTheLossesAndNormsOfPeft) {
  for (const bool checkpoint : {false, true}) {
    TrainModel trained(model, at::kCPU, {.checkpoint_blocks = checkpoint},
                       read_peft(dir + "/initial", model));
    Optimizer optimizer(trained.parameters(),
                        {.weight_decay = golden.at("weight_decay").get<double>()});
    double worst_loss = 0;
    double worst_norm = 0;
    for (int64_t step = 0; step < schedule().total_steps; ++step) {
      optimizer.zero_grad();
      const LossSums sums = add_gradients(trained, step);
      const double loss = sums.ce / static_cast<double>(sums.targets);
      const double norm = optimizer.clip(golden.at("clip").get<double>());
      const auto place = static_cast<size_t>(step);
      const auto want_loss = golden.at("losses").at(place).get<double>();
      const auto want_norm = golden.at("norms").at(place).get<double>();
      worst_loss = std::max(worst_loss, std::abs(loss / want_loss - 1));
      worst_norm = std::max(worst_norm, std::abs(norm / want_norm - 1));
      const double rate = learning_rate(schedule(), step);
      EXPECT_NEAR(rate, golden.at("rates").at(place).get<double>(), 1e-12);
      optimizer.step(rate);
    }
    EXPECT_LT(worst_loss, 1e-4);
    EXPECT_LT(worst_norm, 1e-3);
    RecordProperty("worst_loss", std::to_string(worst_loss));
    std::printf("[   worst  ] loss %.2e, norm %.2e (relative)\n", worst_loss, worst_norm);
    const LoraAdapter want = read_peft(dir + "/trained", model);
    for (const auto& [place, pair] : trained.adapter()->pairs) {
      EXPECT_LT(relative_error(pair.a.detach(), want.pairs.at(place).a), 1e-3);
      EXPECT_LT(relative_error(pair.b.detach(), want.pairs.at(place).b), 1e-3);
    }
  }
}

TEST_P(LoraGolden, APeftAdapterGivesPeftsLogitsMerged) {
  const TrainModel trained(model, at::kCPU, {}, read_peft(dir + "/trained", model));
  const at::Tensor logits = logits_of(trained.result(), ids[0][0]);
  EXPECT_LT(relative_error(logits, tensor_of(dir + "/logits.safetensors", "merged")), 1e-5);
  EXPECT_LT(relative_error(logits, tensor_of(dir + "/logits.safetensors", "adapted")), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Families, LoraGolden, testing::Values("llama_gqa", "qwen2"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace prunus::test::lora_golden_test
