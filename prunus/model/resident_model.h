#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/decoder.h"
#include "prunus/model/final_norm.h"
#include "prunus/model/model.h"
#include "prunus/model/resident_dtype.h"

namespace prunus {

/// All layers of a model that stays in memory: what `open` gives for each, the next one being read
/// ahead meanwhile. Shows progress as `what`. Throws what `open` throws; Interrupted.
std::vector<BlockWeights> open_layers(const Model& model, const std::string& what,
                                      const std::function<BlockWeights(int layer)>& open);

/// A whole model on a device, unlike everything that streams: for decoding token by token.
/// Weights and matrix products are in Residence::dtype (FP32, BF16, FP16), hidden states and norms
/// in FP32; with Residence::packed weights are as stored and products in FP32.
class ResidentModel {
 public:
  /// Shows progress; of weights to be kept in blocks, says which could not be. Throws as
  /// Model::load.
  ResidentModel(const Model& model, at::Device device, Residence where = {});

  /// FP32 logits [batch, vocab] after the last of ids int64 [batch, seq], which stand at `position`
  /// and on. `cache` is that of empty_cache() or of an earlier call, and is extended; `hook`, where
  /// given, sees the final norm and the head too, and has to take half-precision weights. Throws
  /// InvalidArgument for ids on the CPU outside the vocabulary.
  at::Tensor next_logits(const at::Tensor& ids, int64_t position, std::vector<LayerCache>& cache,
                         LinearHook* hook = nullptr) const;

  const ModelConfig& config() const { return model_.config(); }
  int64_t layer_count() const { return model_.layer_count(); }
  at::Device device() const { return device_; }
  /// For the first call of next_logits(): an entry per layer.
  std::vector<LayerCache> empty_cache() const;
  const Residence& residence() const { return where_; }
  /// In words, for tables and records: "bfloat16", "as stored: Q4_K, Q6_K".
  std::string dtype_text() const;
  /// Of all weights that a decode step reads whole: everything but an untied embedding.
  int64_t step_bytes() const;
  /// Of all weights held. On the CPU an untied embedding is not: its rows are read from the file.
  int64_t bytes() const;

 private:
  at::Tensor embedded(const at::Tensor& ids, int64_t position) const;
  at::Tensor project(const at::Tensor& normed) const;

  ResidentModel(const ResidentModel&) = delete;  // norm_ refers to model_
  ResidentModel& operator=(const ResidentModel&) = delete;

  Model model_;  // a copy: its precision is ours
  at::Device device_;
  Residence where_;
  std::vector<BlockWeights> blocks_;
  std::optional<FinalNorm> norm_;
  std::optional<InputEmbedding> input_embedding_;
  std::optional<PackedWeight> packed_head_;
  at::Tensor head_;        // [vocab, hidden]; undefined where packed
  at::Tensor projection_;  // the head as it is used
  at::Tensor embedding_;   // the same memory as head_ where tied; undefined: read from the file
};

}  // namespace prunus
