#pragma once
#include <functional>
#include <utility>

#include "prunus/calib/collector.h"
#include "prunus/calib/weight_stats.h"
#include "prunus/model/config.h"

namespace prunus {

/// Measures what each expert of a mixture adds to the residual stream: WeightStats::output_norm and
/// routed_tokens of every layer with experts, handed to `sink` when its last batch has passed.
/// Forward pass only. Calibration runs the experts side by side, as one feed-forward part whose
/// inner channels are multiplied by their expert's share g_e(x) (model/decoder.h). So the channels
/// of expert e that enter the down projection, times the columns that read them, are g_e(x)·f_e(x);
/// biases do not exist there, and an expert that every token shares is a product of its own.
/// A token counts for an expert where one of these channels is not 0: so not where its share is 0,
/// whatever made it so (not among the chosen; underflow). Nor does a chosen token count whose inner
/// channels are all exactly 0, as a ReLU or an input of 0 might make them, since it cannot be told
/// from one that was not chosen; one whose output is 0 for any other reason counts.
/// Norms are taken in the stream's precision and added up in FP64.
/// Cost: the down projection of the chosen experts once more. Memory: per expert and batch the
/// inner channels and the outputs of its own tokens.
/// Source: Lasby et al., arXiv:2510.13999.
class ExpertOutputCollector : public Collector {
 public:
  using Sink = std::function<void(int layer, const WeightStats& stats)>;
  /// `config` is that of the streamed model, and must outlive the collector.
  ExpertOutputCollector(const ModelConfig& config, Sink sink)
      : config_(config), sink_(std::move(sink)) {}

  void on_forward(const LinearSite& site, const at::Tensor& input,
                  const at::Tensor& output) override;

 private:
  const ModelConfig& config_;
  Sink sink_;
  WeightStats stats_;  // of the layer under way
};

}  // namespace prunus
