#pragma once
#include <functional>
#include <utility>

#include "prunus/calib/collector.h"
#include "prunus/calib/weight_stats.h"
#include "prunus/model/config.h"

namespace prunus {

/// Measures what each expert of a mixture adds to the residual stream: WeightStats::output_norm and
/// routed_tokens of every layer with experts, handed to `sink` when its last batch has passed.
/// Forward pass only. An expert sees the tokens that chose it, and its inner channels are
/// multiplied by its share g_e(x) before its down projection (model/mixture.h), whose output is
/// therefore g_e(x)·f_e(x); biases do not exist there, and an expert that every token shares is a
/// product of its own. A token counts for every expert that it chose, whatever that puts out: also
/// where its share underflowed to 0, or its inner channels or its output are 0. Norms are taken in
/// the stream's precision and added up in FP64. Cost: the norms. Memory: two numbers per expert.
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
