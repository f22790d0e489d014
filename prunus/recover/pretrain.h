#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/model/model.h"
#include "prunus/train/memory_plan.h"
#include "prunus/train/train_data.h"
#include "prunus/train/trainer.h"

namespace prunus {

/// Weights of a model that has not been trained: matrices normal with deviation `deviation`, those
/// that write into the residual stream (o, down) smaller by √(2·layers), gains of norms 1 (weights
/// 0 where the gain is 1 + w), biases 0. Each tensor's numbers depend on the seed and its name
/// alone. Source of the smaller outputs: Radford et al. (GPT-2), 2019, section 2.3.
class InitialSource : public WeightSource {
 public:
  /// dtype: of read(), and so of the files written from it.
  InitialSource(const ModelConfig& config, double deviation, uint64_t seed, at::ScalarType dtype)
      : layers_(static_cast<int64_t>(config.layers.size())),
        norm_weight_(config.family->norm == NormKind::RmsPlusOne ? 0 : 1),
        deviation_(deviation),
        seed_(seed),
        dtype_(dtype) {}
  at::Tensor read(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo&) const override { return dtype_; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}

 private:
  int64_t layers_;
  double norm_weight_;
  double deviation_;
  uint64_t seed_;
  at::ScalarType dtype_;
};

/// One whole `prunus train`: a configuration and text in, a model directory out.
struct PretrainJob {
  std::string config;         ///< config.json, or a directory with one
  std::string tokenizer_dir;  ///< empty: the directory of the configuration
  std::string data;           ///< text or jsonl
  std::string valid_file;     ///< empty: a share of the data
  std::shared_ptr<TextFiles> texts = std::make_shared<TextFiles>();  ///< data and valid_file
  std::string out_dir;
  std::string work_dir;  ///< empty: OUT.work
  DataOptions rows;      ///< row_tokens 0: 256, or the context where that is shorter
  TrainerOptions trainer;
  double epochs = 1;          ///< where max_steps is 0
  int64_t max_steps = 0;      ///< 0: from epochs
  int64_t warmup_steps = -1;  ///< −1: 5 % of the steps
  TrainModelOptions model;
  Checkpointing checkpointing = Checkpointing::Auto;
  double init_deviation = 0;             ///< 0: initializer_range of the configuration, else 0.02
  at::ScalarType dtype = at::kBFloat16;  ///< of the written weights: Float, Half, BFloat16
  uint64_t seed = 0;
  bool resume = false;
  bool force = false;
  bool ignore_memory = false;
  at::Device device = at::Device(at::kCPU);
  std::string recipe;           ///< file that options were read from, for the record
  std::string tokenizer_asked;  ///< as it was asked for, for the record; empty: tokenizer_dir
};

/// The directory of the tokenizer that the job uses.
std::string tokenizer_dir(const PretrainJob& job);

/// Defaults for small models: Muon for the layers' matrices, learning rate 3e-3, cosine to 2 %,
/// β 0.9 and 0.95, weight decay 0.1, 16 rows a step.
PretrainJob pretrain_defaults();

/// Runs the job, as run_recover does. Throws InvalidArgument where the vocabulary of the
/// configuration is smaller than the tokenizer's; otherwise as its parts.
Json run_pretrain(PretrainJob job);

}  // namespace prunus
