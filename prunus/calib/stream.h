#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/collector.h"
#include "prunus/calib/layer_loop.h"
#include "prunus/calib/stream_store.h"
#include "prunus/calib/visitor.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"

namespace prunus {

/// Cuts equal-length windows into batches of at most `max_tokens` tokens (at least one window
/// each).
std::vector<TokenBatch> make_batches(const std::vector<std::vector<int64_t>>& windows,
                                     int64_t max_tokens = 4096);

/// Whole rows of the batches, in order, until they hold so many tokens or there are no more.
std::vector<TokenBatch> first_tokens(const std::vector<TokenBatch>& batches, int64_t tokens);

/// The only way calibration runs: one decoder layer's weights at a time, read from the file, used
/// for every batch, given back. Hidden states stay in host memory, or spill to disk (StreamStore);
/// a device holds those of one batch. Peak memory is about one layer in FP32, its activations, and
/// what the store may hold, whatever the model's depth.
class BlockStream {
 public:
  BlockStream(const Model& model, at::Device device) : model_(model), device_(device) {}

  /// Embedding rows of every batch [batch, seq, hidden_size], computed on the device and left in
  /// host memory (to_host).
  std::vector<at::Tensor> embed(const std::vector<TokenBatch>& batches) const;

  /// Runs the hidden states through all layers, in place: they are in host memory before and
  /// after, and on the device batch by batch. `collector`, where given, sees every
  /// matrix product. Throws Interrupted.
  void forward(std::vector<at::Tensor>& hidden, Collector* collector = nullptr) const;

  /// Takes the hidden states of `range.begin`'s input through the layers of the range, in place,
  /// and shows each layer to the visitor: collect, visit, propagate. Throws Interrupted, and what
  /// the visitor throws. Cost: see LayerVisitor::Edits.
  void walk(std::vector<at::Tensor>& hidden, LayerRange range, LayerVisitor& visitor,
            std::string_view what = "forward") const;

  /// The objective (next-token loss unless another is named) over all batches and its gradient at
  /// every weight the collector wants of the
  /// layers in `range`, last layer first; the embedding only if the range begins at 0. Loss: mean
  /// cross-entropy over all predicted tokens of all batches (every row counts in full: rows must
  /// not be padded). Each layer's forward is computed again before its backward. `store` keeps the
  /// (layers in range + 1) · tokens · hidden_size activations in between; with a resumable store,
  /// what an earlier process finished is not done again. Returns the mean loss in nats per token.
  /// Throws Numeric if the loss is not finite; Interrupted; Io, Corrupt as the store.
  double backward(const std::vector<TokenBatch>& batches, LayerRange range, Collector& collector,
                  StreamStore& store, Objective objective = Objective::CrossEntropy,
                  uint64_t seed = 0) const;
  /// The same in RAM.
  double backward(const std::vector<TokenBatch>& batches, LayerRange range,
                  Collector& collector) const;

 private:
  void walk_layer(int layer, BlockWeights& weights, std::vector<at::Tensor>& hidden,
                  Collector* collector, bool propagate) const;
  void walk_by_stage(int layer, BlockWeights& weights, std::vector<at::Tensor>& hidden,
                     LayerVisitor& visitor) const;
  void forward_to_store(const std::vector<TokenBatch>& batches, LayerRange range,
                        StreamStore& store) const;
  void backward_block(int layer, const BlockWeights& weights, std::vector<at::Tensor>& inputs,
                      std::vector<at::Tensor>& grads, bool need_input_grad,
                      Collector& collector) const;

  const Model& model_;
  at::Device device_;
};

}  // namespace prunus
