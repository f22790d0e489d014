#pragma once
#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "prunus/kernel/norm.h"
#include "prunus/model/layer_cache.h"
#include "prunus/model/linear_hook.h"
#include "prunus/model/model.h"
#include "prunus/model/positions.h"

namespace prunus {

/// What decode_layer() needs beside the hidden states.
struct DecodeLayer {
  const ModelConfig& config;
  int layer;
  const BlockWeights& weights;
  LayerCache& cache;             ///< of earlier positions, at least one
  std::optional<Rotation> turn;  ///< of the new position: cos and sin FP32 [1, pairs]
  kernel::NormRule norm;
  double score_scale;
  LinearHook* watch = nullptr;  ///< one that only_watches(), or null
};

/// Whether decode_layer() takes one place of each of these sequences: hidden [batch, 1,
/// hidden_size] FP32 on a CPU, batch ≤ kernel::kMostRows, without gradients; a dense layer with a
/// gated feed-forward part, norms in front of its parts, nothing added to the scores and nothing
/// that bends them.
bool takes_decode_layer(const DecodeLayer& step, const at::Tensor& hidden);

/// The layer's output for the newest place of each sequence, in place, and its keys and values
/// behind those of the cache. What Decoder::block() computes, on plain memory: libtorch's operators
/// on a few hundred numbers, eighty a layer, took a fifth of a step. FP32 but for the weights and
/// the cache; products that read the same input share one start of the threads.
void decode_layer(const DecodeLayer& step, at::Tensor& hidden);

}  // namespace prunus
