#include "prunus/solve/sub_block.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/layer_loop.h"
#include "prunus/solve/two_streams.h"

namespace prunus {
namespace {

// Products of batches of other shapes round differently: 1e-6 of a value, squared.
constexpr double kRounding = 1e-12;

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

// Trains the parts of one layer after the other, beside the dense model's.
class Repair {
 public:
  using Tensors = std::vector<OverlayTensor>;

  Repair(const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
         const std::vector<TokenBatch>& rows, at::Device device, const SubBlockOptions& options)
      : pruned_(pruned),
        options_(options),
        split_(split_rows(rows, options)),
        streams_(pruned, dense, dense_layers, rows, device, options.residual_correction) {}

  // `weights` are the layer's until leave().
  void enter(int layer, BlockWeights& weights) {
    layer_ = layer;
    weights_ = &weights;
    streams_.enter(layer);
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
    streams_.leave();
    return tensors;
  }

  SubBlockResult repair(Part part, const Tensors& restored, Progress& progress) {
    Hidden targets;
    for (size_t i = 0; i < streams_.batches(); ++i) {
      targets.push_back(to_host(streams_.target(part, i)));
    }
    const PartForward forward{streams_.decoder(), layer_, part};
    PartTrainer trainer(forward, split_, streams_.inputs(), targets, options_);
    SubBlockResult result{
        .layer = layer_, .part = part_name(part), .error_before = trainer.error(*weights_)};
    result.error_after = result.error_before;
    // A part that lacks nothing but rounding has nothing to learn, and one that was dropped nothing
    // to learn with.
    const bool learns = result.error_before > kRounding && has_part(pruned_, layer_, part);
    if (learns) result.steps = trainer.steps();
    if (!restored.empty()) {
      put(restored, part);
      result.error_after = trainer.error(*weights_);
    } else if (result.steps > 0) {
      auto best = trainer.train(*weights_, pruned_, result.error_after, progress);
      if (best) *weights_ = std::move(*best);
    }
    if (result.steps == 0 || !restored.empty()) progress.step(trainer.steps());
    result.kept = result.error_after < result.error_before;
    for (size_t i = 0; i < streams_.batches(); ++i) {
      const at::Tensor input = streams_.inputs()[i].to(streams_.device());
      streams_.advance(i, forward(*weights_, input));
    }
    return result;
  }

  int64_t steps_per_part() const {
    const PartForward forward{streams_.decoder(), 0, Part::Attention};
    const Hidden& hidden = streams_.hidden();
    return PartTrainer(forward, split_, hidden, hidden, options_).steps();
  }

 private:
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
      (*weights_)[tensor->spec->role] = found->value.to(streams_.device()).to(at::kFloat);
    }
  }

  const Model& pruned_;
  const SubBlockOptions& options_;
  RowSplit split_;
  TwoStreams streams_;
  BlockWeights* weights_ = nullptr;
  int layer_ = 0;
};

}  // namespace

std::vector<SubBlockResult> repair_sub_blocks(
    const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
    const std::vector<TokenBatch>& rows, at::Device device, const SubBlockOptions& options,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored) {
  check_options(options);
  check_two_streams(pruned, dense, dense_layers, rows, "sub-block repair");
  PRUNUS_CHECK(dense.precision() == at::kFloat, InvalidArgument,
               "sub-block repair: works in FP32, but the models are set to ", dense.precision());
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
