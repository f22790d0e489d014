#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/progress.h"
#include "prunus/model/decoder.h"
#include "prunus/solve/sub_block.h"

namespace prunus {

/// Hidden states of all rows: per batch [rows, seq, hidden_size].
using Hidden = std::vector<at::Tensor>;

/// One half of a decoder layer.
enum class Part { Attention, FeedForward };
inline constexpr Part kParts[] = {Part::Attention, Part::FeedForward};
/// "attention", "ffn".
const char* part_name(Part part);

/// Whether the layer has it.
bool has_part(const Model& model, int layer, Part part);

/// The tensors of a part that its repair trains, of those the layer has: projections, router and
/// experts, biases; with `norms` gain and bias of the norms in front of the part and behind it.
/// (Not the norms of queries and keys.)
std::vector<const TensorInfo*> trained_tensors(const Model& model, int layer, Part part,
                                               bool norms);

/// What a part adds to the residual stream, for given weights. hidden [rows, seq, hidden_size] →
/// same shape.
struct PartForward {
  const Decoder& decoder;
  int layer;
  Part part;
  at::Tensor operator()(const BlockWeights& weights, const at::Tensor& hidden,
                        LinearHook* hook = nullptr) const;
};

/// Which rows are trained on and which judge: drawn once by seed, the same for every part.
struct RowSplit {
  std::vector<std::pair<size_t, int64_t>> places;  ///< batch, and row in it, by row number
  std::vector<int64_t> train;
  std::vector<int64_t> valid;
};
/// At least one row judges where there are four or more; with fewer, or a validation share of 0,
/// all rows do both.
RowSplit split_rows(const std::vector<TokenBatch>& rows, const SubBlockOptions& options);

/// Trains the weights of one part to give `targets` on `inputs`, batches of the same shapes in host
/// memory; the rows of one update go to the device of the weights. Keeps
/// references to all it is given. Peak memory: six times the part's weights in FP32 (trained,
/// gradient, AdamW's two, best, judged) and the activations of one update.
class PartTrainer {
 public:
  PartTrainer(PartForward forward, const RowSplit& split, const Hidden& inputs,
              const Hidden& targets, const SubBlockOptions& options)
      : forward_(forward), split_(split), inputs_(inputs), targets_(targets), options_(options) {}

  int64_t steps_per_epoch() const;
  int64_t steps() const { return options_.epochs * steps_per_epoch(); }

  /// Σ(target − output)² / Σ target² on the rows that judge. Throws Numeric if it is not finite.
  double error(const BlockWeights& weights) const;

  /// The weights of the best epoch, rounded to the dtypes they have in the file of `model`, where
  /// their error is below `error`, which becomes theirs; nothing where no epoch is better. The
  /// weights given are never written to: they may be mapped memory. Throws Numeric; Interrupted.
  std::optional<BlockWeights> train(const BlockWeights& weights, const Model& model, double& error,
                                    Progress& progress);

 private:
  struct Examples {
    at::Tensor input;   // [rows, seq, hidden_size]
    at::Tensor target;  // same
  };

  int64_t rows_per_step() const;
  std::vector<Parameter> leaves(BlockWeights& trained,
                                const std::vector<const TensorInfo*>& tensors);
  std::vector<Examples> pick(const std::vector<int64_t>& rows, at::Device device) const;
  void update(BlockWeights& trained, const std::vector<int64_t>& rows, Optimizer& optimizer,
              double lr);

  PartForward forward_;
  const RowSplit& split_;
  const Hidden& inputs_;
  const Hidden& targets_;
  const SubBlockOptions& options_;
  // Errors are taken relative to this: where a part's output is small, its gradients must not drown
  // in AdamW's epsilon.
  double row_size_ = 1;
  std::map<Role, at::Tensor> masks_;  // of sparse weights, true = may change
};

}  // namespace prunus
