#include "prunus/solve/sub_block.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/layer_loop.h"
#include "prunus/calib/stream.h"
#include "prunus/solve/sub_block_part.h"

namespace prunus {
namespace {

// Products of batches of other shapes round differently: 1e-6 of a value, squared.
constexpr double kRounding = 1e-12;

constexpr Part kParts[] = {Part::Attention, Part::FeedForward};

void check_options(const SubBlockOptions& options) {
  PRUNUS_CHECK(options.epochs >= 1 && options.batch_rows >= 1, InvalidArgument,
               "sub-block repair: got ", options.epochs, " epochs and ", options.batch_rows,
               " rows an update, expected at least 1 of each");
  PRUNUS_CHECK(std::isfinite(options.lr) && options.lr > 0, InvalidArgument,
               "sub-block repair: the learning rate is ", options.lr, ", expected above 0");
  PRUNUS_CHECK(options.residual_correction >= 0 && options.residual_correction <= 1,
               InvalidArgument, "sub-block repair: the residual correction is ",
               options.residual_correction, ", expected [0, 1]");
  PRUNUS_CHECK(options.valid_fraction >= 0 && options.valid_fraction < 1, InvalidArgument,
               "sub-block repair: the validation share is ", options.valid_fraction,
               ", expected [0, 1)");
}

void check_models(const Model& pruned, const Model& dense, const std::vector<int64_t>& layers) {
  PRUNUS_CHECK(pruned.config().hidden_size == dense.config().hidden_size, InvalidArgument,
               "sub-block repair: the pruned model's hidden_size is ", pruned.config().hidden_size,
               ", the dense model's ", dense.config().hidden_size,
               "; parts can be compared only where the residual stream was not cut");
  PRUNUS_CHECK(pruned.config().vocab_size == dense.config().vocab_size, InvalidArgument,
               "sub-block repair: the pruned model's vocabulary is ", pruned.config().vocab_size,
               ", the dense model's ", dense.config().vocab_size);
  PRUNUS_CHECK(pruned.precision() == at::kFloat && dense.precision() == at::kFloat, InvalidArgument,
               "sub-block repair: trains in FP32, but a model is set to ", pruned.precision(),
               " or ", dense.precision());
  PRUNUS_CHECK(static_cast<int64_t>(layers.size()) == pruned.layer_count(), InvalidArgument,
               "sub-block repair: got dense places of ", layers.size(), " layers, expected ",
               pruned.layer_count());
  int64_t last = -1;
  for (const int64_t layer : layers) {
    PRUNUS_CHECK(layer > last && layer < dense.layer_count(), InvalidArgument,
                 "sub-block repair: dense layer ", layer, " after ", last,
                 ", expected ascending numbers below ", dense.layer_count());
    last = layer;
  }
}

void check_rows(const std::vector<TokenBatch>& rows) {
  PRUNUS_CHECK(!rows.empty(), InvalidArgument, "sub-block repair: got no rows of text");
  for (const TokenBatch& batch : rows) {
    PRUNUS_CHECK(batch.ids.dim() == 2 && batch.ids.numel() > 0, InvalidArgument,
                 "sub-block repair: a batch of ids is ", batch.ids.sizes(),
                 ", expected [rows, seq] with at least one id");
  }
}

// A walk of two: beside each layer of the pruned model stands the one of the dense model that it
// was.
class Repair {
 public:
  using Tensors = std::vector<OverlayTensor>;

  Repair(const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
         const std::vector<TokenBatch>& rows, at::Device device, const SubBlockOptions& options)
      : pruned_(pruned),
        dense_(dense),
        dense_layers_(dense_layers),
        device_(device),
        options_(options),
        split_(split_rows(rows, options)),
        dense_cursor_(dense, device),
        hidden_(BlockStream(pruned, device).embed(rows)) {
    // With β = 0 nothing is asked of the dense model's own stream.
    if (options.residual_correction > 0) dense_hidden_ = BlockStream(dense, device).embed(rows);
  }

  // Opens the dense layer beside `weights`, which is that of the pruned model until leave().
  void enter(int layer, BlockWeights& weights) {
    const auto place = static_cast<size_t>(layer);
    pass_missing(layer == 0 ? 0 : dense_layers_[place - 1] + 1, dense_layers_[place]);
    layer_ = layer;
    weights_ = &weights;
    dense_layer_ = static_cast<int>(dense_layers_[place]);
    dense_cursor_.open(dense_layer_, dense_layer_behind(place));
    if (pruned_.config().parallel_residual) entered_ = hidden_;
    if (dense_.config().parallel_residual) dense_entered_ = dense_hidden_;
  }

  // The layer's tensors as they now are, trained or left as they were.
  Tensors leave() {
    Tensors tensors;
    for (const Part part : kParts) {
      for (const TensorInfo* tensor :
           trained_tensors(pruned_, layer_, part, options_.train_norms)) {
        const at::ScalarType dtype = pruned_.source().dtype(*tensor);
        tensors.push_back({tensor, (*weights_)[tensor->spec->role].to(at::kCPU, dtype)});
      }
    }
    dense_cursor_.close();
    return tensors;
  }

  SubBlockResult repair(Part part, const Tensors& restored, Progress& progress) {
    const Hidden targets = make_targets(part);
    const PartForward forward{decoder_, layer_, part};
    PartTrainer trainer(forward, split_, inputs(), targets, options_);
    SubBlockResult result{
        .layer = layer_, .part = part_name(part), .error_before = trainer.error(*weights_)};
    result.error_after = result.error_before;
    // A part that lacks nothing but rounding has nothing to learn.
    if (result.error_before > kRounding) result.steps = trainer.steps();
    if (!restored.empty()) {
      put(restored, part);
      result.error_after = trainer.error(*weights_);
    } else if (result.steps > 0) {
      auto best = trainer.train(*weights_, pruned_, result.error_after, progress);
      if (best) *weights_ = std::move(*best);
    }
    if (result.steps == 0 || !restored.empty()) progress.step(trainer.steps());
    result.kept = result.error_after < result.error_before;
    for (size_t i = 0; i < hidden_.size(); ++i) {
      const at::Tensor output = forward(*weights_, inputs()[i].to(device_));
      hidden_[i] = to_host(hidden_[i].to(device_) + output);
    }
    return result;
  }

  int64_t steps_per_part() const {
    const PartForward forward{decoder_, 0, Part::Attention};
    return PartTrainer(forward, split_, hidden_, hidden_, options_).steps();
  }

 private:
  // Takes the dense stream through layers that the pruned model does not have.
  void pass_missing(int64_t begin, int64_t end) {
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
  int dense_layer_behind(size_t place) const {
    if (place + 1 == dense_layers_.size()) return -1;
    return static_cast<int>(dense_hidden_.empty() ? dense_layers_[place + 1]
                                                  : dense_layers_[place] + 1);
  }

  // What a part reads: the stream, or the layer's input where its parts stand beside each other.
  const Hidden& inputs() const { return pruned_.config().parallel_residual ? entered_ : hidden_; }
  const Hidden& dense_inputs() const {
    return dense_.config().parallel_residual ? dense_entered_ : dense_hidden_;
  }

  // What the part is to give, batch by batch; takes the dense stream past the part.
  Hidden make_targets(Part part) {
    const PartForward dense{dense_decoder_, dense_layer_, part};
    const double beta = options_.residual_correction;
    Hidden targets;
    for (size_t i = 0; i < hidden_.size(); ++i) {
      at::Tensor target = dense(dense_cursor_.weights(), inputs()[i].to(device_));
      if (beta != 0) {
        const at::Tensor output = dense(dense_cursor_.weights(), dense_inputs()[i].to(device_));
        const at::Tensor next = dense_hidden_[i].to(device_) + output;
        // In this form the target of an unpruned part is its output to the last bit.
        target.add_((next - (hidden_[i].to(device_) + target)).mul_(beta));
        dense_hidden_[i] = to_host(next);
      }
      targets.push_back(to_host(target));
    }
    return targets;
  }

  void put(const Tensors& restored, Part part) {
    for (const TensorInfo* tensor : trained_tensors(pruned_, layer_, part, options_.train_norms)) {
      const auto found = std::find_if(restored.begin(), restored.end(), [&](const auto& one) {
        return one.tensor->name == tensor->name;
      });
      const bool fits =
          found != restored.end() && found->value.sizes() == at::IntArrayRef(tensor->shape);
      PRUNUS_CHECK(fits, Corrupt, "sub-block repair: what was kept of layer ", layer_, " lacks '",
                   tensor->name, "' ", at::IntArrayRef(tensor->shape),
                   "; was it made with other options?");
      (*weights_)[tensor->spec->role] = found->value.to(device_).to(at::kFloat);
    }
  }

  const Model& pruned_;
  const Model& dense_;
  const std::vector<int64_t>& dense_layers_;
  at::Device device_;
  const SubBlockOptions& options_;
  RowSplit split_;
  Decoder decoder_{pruned_.config()};
  Decoder dense_decoder_{dense_.config()};
  LayerCursor dense_cursor_;
  // In host memory, on the device batch by batch.
  Hidden hidden_;        // x̂
  Hidden dense_hidden_;  // x
  Hidden entered_;       // x̂ in front of the layer
  Hidden dense_entered_;
  BlockWeights* weights_ = nullptr;
  int layer_ = 0;
  int dense_layer_ = 0;
};

}  // namespace

std::vector<SubBlockResult> repair_sub_blocks(
    const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
    const std::vector<TokenBatch>& rows, at::Device device, const SubBlockOptions& options,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored) {
  check_options(options);
  check_models(pruned, dense, dense_layers);
  check_rows(rows);
  const at::NoGradGuard no_grad;
  Repair repair(pruned, dense, dense_layers, rows, device, options);
  Progress progress("repair: updates", 2 * pruned.layer_count() * repair.steps_per_part());
  std::vector<SubBlockResult> results;
  const auto act = [&](int layer, BlockWeights& weights) {
    repair.enter(layer, weights);
    const auto kept = restored ? restored(layer) : std::vector<OverlayTensor>();
    for (const Part part : kParts) {
      results.push_back(repair.repair(part, kept, progress));
      progress.note(c10::str("layer ", layer, " ", results.back().part, ", error ",
                             results.back().error_before, " → ", results.back().error_after));
    }
    const auto tensors = repair.leave();
    if (kept.empty()) done(layer, tensors);
  };
  for_each_layer(pruned, device, {0, pruned.layer_count()}, LayerOrder::FirstToLast, act);
  return results;
}

}  // namespace prunus
