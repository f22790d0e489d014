#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"

namespace prunus::test {

/// Weights in memory, FP32.
class MemorySource : public WeightSource {
 public:
  std::map<std::string, at::Tensor> tensors;

  at::Tensor read(const TensorInfo& tensor) const override { return tensors.at(tensor.name); }
  at::ScalarType dtype(const TensorInfo&) const override { return at::kFloat; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}
};

struct TinySizes {
  std::string family = "llama";
  int64_t hidden = 16;
  int64_t head_dim = 4;
  int64_t q_heads = 4;
  int64_t kv_heads = 4;
  int64_t ffn = 12;
  int64_t vocab = 29;
  int64_t layers = 2;
  bool tied = false;
};

/// config.json of a tiny model.
Json tiny_config(const TinySizes& sizes);

/// A model with normal random weights (matrices std 0.3, norms 1 ± 0.2) by seed.
Model tiny_model(const TinySizes& sizes, uint64_t seed = 1);

/// The model's own weights in memory, to change one and look what happens.
std::shared_ptr<MemorySource> copy_weights(const Model& model);

/// Writes config.json and model.safetensors of a model (and a byte tokenizer) into a directory.
void save_model(const Model& model, const Json& config, const std::string& dir);

/// Logits [batch, seq, vocab] of ids int64 [batch, seq] by the product's own stream.
at::Tensor logits_of(const Model& model, const at::Tensor& ids);

/// ids int64 [batch, seq] by seed.
at::Tensor random_ids(const Model& model, int64_t batch, int64_t seq, uint64_t seed = 3);

/// max |a − b| / max |b|.
double relative_error(const at::Tensor& a, const at::Tensor& b);

}  // namespace prunus::test
