#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/train/trainer.h"

#include "support/device.h"
#include "support/tiny_model.h"

namespace prunus::train_model_device_test {
namespace {

DataSplit rows_of(const Model& model) {
  DataSplit data;
  const at::Tensor ids = test::random_ids(model, 8, 12);
  for (int64_t row = 0; row < 8; ++row) {
    TrainRow one;
    one.ids.assign(ids[row].data_ptr<int64_t>(), ids[row].data_ptr<int64_t>() + 12);
    one.scored.assign(12, 1);
    one.scored[0] = 0;
    data.train.push_back(std::move(one));
  }
  return data;
}

double loss_after_steps(const Model& model, at::Device device, bool full, at::ScalarType compute) {
  const DataSplit data = rows_of(model);
  const Teacher teacher(model, device, false);
  const TrainModelOptions how{.compute = compute};
  LoraOptions lora;
  lora.r = 4;
  TrainModel trained =
      full ? TrainModel(model, device, how)
           : TrainModel(model, device, how, LoraAdapter::make(model, lora, 1, device));
  TrainerOptions options;
  options.max_steps = 10;
  options.batch_rows = 4;
  options.micro_rows = 2;
  options.schedule.lr = 1e-2;
  options.loss = {.ce = 0.5, .kl = 0.5};
  return Trainer(trained, data, &teacher, options).run().train_loss;
}

TEST(TrainingOnTheDevice, GivesTheLossesOfTheCpu) {
  PRUNUS_NEED_DEVICE(test::kTestDevice);
  const Model model = test::tiny_model({.hidden = 32, .kv_heads = 2, .ffn = 48});
  for (const bool full : {false, true}) {
    const double want = loss_after_steps(model, at::kCPU, full, at::kFloat);
    EXPECT_NEAR(loss_after_steps(model, test::kTestDevice, full, at::kFloat), want, 1e-3 * want);
    EXPECT_NEAR(loss_after_steps(model, test::kTestDevice, full, at::kBFloat16), want, 0.03 * want);
  }
}

}  // namespace
}  // namespace prunus::train_model_device_test
