#include "prunus/solve/two_streams.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/stream.h"

namespace prunus {

void check_two_streams(const Model& pruned, const Model& dense,
                       const std::vector<int64_t>& dense_layers,
                       const std::vector<TokenBatch>& rows, const char* what) {
  PRUNUS_CHECK(pruned.config().hidden_size == dense.config().hidden_size, InvalidArgument, what,
               ": the pruned model's hidden_size is ", pruned.config().hidden_size,
               ", the dense model's ", dense.config().hidden_size,
               "; parts can be compared only where the residual stream was not cut");
  PRUNUS_CHECK(pruned.config().vocab_size == dense.config().vocab_size, InvalidArgument, what,
               ": the pruned model's vocabulary is ", pruned.config().vocab_size,
               ", the dense model's ", dense.config().vocab_size);
  PRUNUS_CHECK(pruned.precision() == dense.precision() && pruned.precision() != at::kDouble,
               InvalidArgument, what, ": one model is set to ", pruned.precision(),
               ", the other to ", dense.precision(), "; expected Float, or BFloat16, of both");
  PRUNUS_CHECK(static_cast<int64_t>(dense_layers.size()) == pruned.layer_count(), InvalidArgument,
               what, ": got dense places of ", dense_layers.size(), " layers, expected ",
               pruned.layer_count());
  int64_t last = -1;
  for (const int64_t layer : dense_layers) {
    PRUNUS_CHECK(layer > last && layer < dense.layer_count(), InvalidArgument, what,
                 ": dense layer ", layer, " after ", last, ", expected ascending numbers below ",
                 dense.layer_count());
    last = layer;
  }
  PRUNUS_CHECK(!rows.empty(), InvalidArgument, what, ": got no rows of text");
  for (const TokenBatch& batch : rows) {
    PRUNUS_CHECK(batch.ids.dim() == 2 && batch.ids.numel() > 0, InvalidArgument, what,
                 ": a batch of ids is ", batch.ids.sizes(),
                 ", expected [rows, seq] with at least one id");
  }
}

TwoStreams::TwoStreams(const Model& pruned, const Model& dense,
                       const std::vector<int64_t>& dense_layers,
                       const std::vector<TokenBatch>& rows, at::Device device,
                       double residual_correction)
    : pruned_(pruned),
      dense_(dense),
      dense_layers_(dense_layers),
      device_(device),
      beta_(residual_correction),
      dense_cursor_(dense, device),
      hidden_(BlockStream(pruned, device).embed(rows)) {
  if (beta_ > 0) dense_hidden_ = BlockStream(dense, device).embed(rows);
}

void TwoStreams::enter(int layer) {
  const auto place = static_cast<size_t>(layer);
  pass_missing(layer == 0 ? 0 : dense_layers_[place - 1] + 1, dense_layers_[place]);
  dense_layer_ = static_cast<int>(dense_layers_[place]);
  dense_cursor_.open(dense_layer_, dense_layer_behind(place));
  if (pruned_.config().parallel_residual) entered_ = hidden_;
  if (dense_.config().parallel_residual) dense_entered_ = dense_hidden_;
}

at::Tensor TwoStreams::target(Part part, size_t i, LinearHook* hook) {
  const PartForward dense{dense_decoder_, dense_layer_, part};
  at::Tensor target = dense(dense_weights(), inputs()[i].to(device_), hook).to(at::kFloat);
  if (beta_ == 0) return target;
  const at::Tensor output = dense(dense_weights(), dense_inputs()[i].to(device_)).to(at::kFloat);
  const at::Tensor next = dense_hidden_[i].to(device_) + output;
  // In this form the target of an unpruned part is its output to the last bit.
  target.add_((next - (hidden_[i].to(device_) + target)).mul_(beta_));
  dense_hidden_[i] = to_host(next);
  return target;
}

void TwoStreams::advance(size_t i, const at::Tensor& output) {
  hidden_[i] = to_host(hidden_[i].to(device_) + output);
}

// Takes the dense stream through layers that the pruned model does not have.
void TwoStreams::pass_missing(int64_t begin, int64_t end) {
  if (dense_hidden_.empty()) return;
  const auto pass = [&](int layer, const BlockWeights& weights) {
    for (at::Tensor& x : dense_hidden_) {
      x = to_host(dense_decoder_.block(layer, weights, x.to(device_)));
    }
    check_interrupted();
  };
  for_each_layer(dense_cursor_, {begin, end}, LayerOrder::FirstToLast, pass);
}

// What is read next of the dense model: layers that the pruned one lacks only if a stream is to
// pass them.
int TwoStreams::dense_layer_behind(size_t place) const {
  if (place + 1 == dense_layers_.size()) return -1;
  return static_cast<int>(dense_hidden_.empty() ? dense_layers_[place + 1]
                                                : dense_layers_[place] + 1);
}

}  // namespace prunus
