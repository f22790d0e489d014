#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/rng.h"
#include "prunus/train/trainer.h"

#include "support/tiny_model.h"

namespace prunus::test {

/// Thrown by a log in place of a killed process.
struct Killed {};

/// Rows of 6 to 10 ids below `highest`, most of them followed by their successor.
inline DataSplit data_of(const Model& model, int64_t train, int64_t valid,
                         int64_t highest = 1 << 20) {
  PythonRandom random(3);
  const auto limit = static_cast<uint64_t>(std::min<int64_t>(highest, model.config().vocab_size));
  const auto row = [&](size_t length) {
    TrainRow one;
    // Every id is followed by its successor, mostly: something to learn.
    uint64_t id = random.below(limit);
    for (size_t i = 0; i < length; ++i) {
      one.ids.push_back(static_cast<int64_t>(id));
      one.scored.push_back(i == 0 ? 0 : 1);
      id = random.below(10) == 0 ? random.below(limit) : (id + 1) % limit;
    }
    return one;
  };
  DataSplit split;
  for (int64_t i = 0; i < train; ++i) split.train.push_back(row(6 + random.below(5)));
  for (int64_t i = 0; i < valid; ++i) split.valid.push_back(row(8));
  return split;
}

inline TrainerOptions options_for(int64_t steps, const std::string& dir = {}) {
  TrainerOptions options;
  options.max_steps = steps;
  options.batch_rows = 4;
  options.micro_rows = 2;
  options.schedule = {.kind = ScheduleKind::Linear, .lr = 0.02, .warmup_steps = 2};
  options.state_dir = dir;
  options.save_every = 3;
  options.valid_every = 4;
  options.seed = 9;
  return options;
}

inline TrainModel adapted(const Model& model, double dropout = 0) {
  return TrainModel(
      model, at::kCPU, {},
      LoraAdapter::make(model, {.r = 2, .alpha = 4, .dropout = dropout}, 1, at::kCPU));
}

inline std::vector<at::Tensor> values(const TrainModel& model) {
  std::vector<at::Tensor> all;
  for (const Parameter& one : model.parameters()) all.push_back(one.value.detach().clone());
  return all;
}

inline void expect_bits(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  // A NaN equals itself here.
  const auto bits = [](const at::Tensor& value) { return value.contiguous().view(at::kInt); };
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(bits(got[i]), bits(want[i]))) << i;
}

}  // namespace prunus::test
