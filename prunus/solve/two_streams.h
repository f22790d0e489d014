#pragma once
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/layer_loop.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/solve/sub_block_part.h"

namespace prunus {

/// Throws InvalidArgument, naming `what`, where parts of the two models cannot be compared: another
/// hidden_size or vocabulary, precisions that differ or FP64, or a list of layers that does not
/// fit. `dense_layers[ℓ]`: which dense layer the pruned model's layer ℓ was.
void check_two_streams(const Model& pruned, const Model& dense,
                       const std::vector<int64_t>& dense_layers,
                       const std::vector<TokenBatch>& rows, const char* what);

/// A walk of two: beside each layer of a pruned model stands the one of the dense model that it
/// was, and both models' hidden states go on part by part. What a part of the pruned model is to
/// add to its stream: (1 − β)·f(x̂) + β·(f(x) + x − x̂), f the dense part, x̂ the pruned and x the
/// dense model's hidden states. Parts that stand beside each other read the layer's input; the
/// feed-forward part still makes up for what the attention part left of the difference.
/// Keeps references to all it is given. Hidden states are in host memory.
class TwoStreams {
 public:
  TwoStreams(const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
             const std::vector<TokenBatch>& rows, at::Device device, double residual_correction);

  /// Opens the dense layer beside the pruned model's.
  void enter(int layer);
  /// Gives the dense layer back.
  void leave() { dense_cursor_.close(); }

  size_t batches() const { return hidden_.size(); }
  /// What a part of the pruned model reads, batch by batch.
  const Hidden& inputs() const { return pruned_.config().parallel_residual ? entered_ : hidden_; }
  /// The pruned model's stream, to which the part adds.
  const Hidden& hidden() const { return hidden_; }

  /// What the part is to add in batch i, on the device; takes the dense stream past the part.
  /// `hook`, where given, watches the dense part's products on the pruned model's stream.
  at::Tensor target(Part part, size_t i, LinearHook* hook = nullptr);
  /// Takes the pruned stream of batch i past the part, which gave `output`.
  void advance(size_t i, const at::Tensor& output);

  const Decoder& decoder() const { return decoder_; }
  const ModelConfig& decoder_config() const { return pruned_.config(); }
  int dense_layer() const { return dense_layer_; }
  const BlockWeights& dense_weights() { return dense_cursor_.weights(); }
  at::Device device() const { return device_; }

 private:
  void pass_missing(int64_t begin, int64_t end);
  int dense_layer_behind(size_t place) const;
  const Hidden& dense_inputs() const {
    return dense_.config().parallel_residual ? dense_entered_ : dense_hidden_;
  }

  const Model& pruned_;
  const Model& dense_;
  const std::vector<int64_t>& dense_layers_;
  at::Device device_;
  double beta_;
  Decoder decoder_{pruned_.config()};
  Decoder dense_decoder_{dense_.config()};
  LayerCursor dense_cursor_;
  Hidden hidden_;        // x̂
  Hidden dense_hidden_;  // x; empty where β = 0, since nothing is asked of it
  Hidden entered_;       // x̂ in front of the layer
  Hidden dense_entered_;
  int dense_layer_ = 0;
};

}  // namespace prunus
