#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/calib/statistics_collector.h"
#include "prunus/calib/stream.h"
#include "prunus/model/mixture.h"
#include "prunus/pipeline/zero_allocation.h"
#include "prunus/solve/sparse_walk.h"

namespace prunus {

namespace criteria {
extern const Criterion wanda;
}

namespace allocations {
namespace {

constexpr double kOutlier = 5;        // M: times the mean score of the layer
constexpr double kDifference = 0.08;  // λ: half of what layers differ by

// The share of outliers among the Wanda scores of a layer's matrices, on the dense model.
class OutlierVisitor : public LayerVisitor {
 public:
  OutlierVisitor(const Model& model, LayerRange range)
      : model_(model),
        range_(range),
        collector_([this](int layer, Role role) { return wanted(layer, role); },
                   [this](int, const LayerStatistics& gathered) { gathered_ = gathered; }) {}

  Collector* collector(int layer) override {
    return range_.contains(layer) ? &collector_ : nullptr;
  }
  void visit(int layer, Stage /*stage*/, BlockWeights& weights) override {
    if (!range_.contains(layer)) return;
    std::vector<at::Tensor> scores;
    for (const Role role : maskable_roles(model_, layer)) {
      WeightStats stats;
      stats.weight = weights[role];
      stats.role = role;
      stats.layer = &gathered_;
      const auto experts = experts_of(model_.config(), layer, role, stats.weight);
      for (const ExpertPart& expert : experts) {
        scores.push_back(criteria::wanda.element(stats.of_expert(expert)));
      }
      if (experts.empty()) scores.push_back(criteria::wanda.element(stats));
    }
    shares_.push_back(share_of(scores));
  }
  const std::vector<double>& shares() const { return shares_; }

 private:
  std::vector<const Statistic*> wanted(int layer, Role role) const {
    const std::vector<Role> roles = maskable_roles(model_, layer);
    const bool counts = std::find(roles.begin(), roles.end(), role) != roles.end();
    return counts ? std::vector<const Statistic*>{&stats::input_norm}
                  : std::vector<const Statistic*>{};
  }

  static double share_of(const std::vector<at::Tensor>& scores) {
    double sum = 0;
    double count = 0;
    for (const at::Tensor& one : scores) {
      sum += one.sum(at::kDouble).item<double>();
      count += static_cast<double>(one.numel());
    }
    double above = 0;
    for (const at::Tensor& one : scores) {
      above += static_cast<double>((one > kOutlier * sum / count).sum().item<int64_t>());
    }
    return count > 0 ? above / count : 0;
  }

  const Model& model_;
  LayerRange range_;
  StatisticsCollector collector_;
  LayerStatistics gathered_;
  std::vector<double> shares_;
};

std::vector<ZeroShare> shares(const AllocationRequest& request) {
  const LayerRange range = request.recipe.attn_layers;
  const BlockStream stream(request.model, request.recipe.device);
  std::vector<at::Tensor> hidden = stream.embed(request.calibration);
  OutlierVisitor visitor(request.model, range);
  stream.walk(hidden, {0, range.end}, visitor, "allocate");
  const auto [least, most] = std::minmax_element(visitor.shares().begin(), visitor.shares().end());
  std::vector<ZeroShare> shares;
  for (int64_t layer = range.begin; layer < range.end; ++layer) {
    const double outliers = visitor.shares()[static_cast<size_t>(layer - range.begin)];
    const double kept =
        *most > *least ? (outliers - *least) / (*most - *least) * 2 * kDifference : 0;
    for (const Role role : maskable_roles(request.model, static_cast<int>(layer))) {
      shares.push_back({static_cast<int>(layer), role, request.recipe.sparsity - kept});
    }
  }
  return shares;
}

}  // namespace

// Differs: the mean is over weights, not over layers.
extern const ZeroAllocation owl{
    .name = "owl",
    .source = "Yin et al., OWL, arXiv:2310.05175, M = 5, lambda = 0.08",
    .summary = "layers with more outliers among the scores of wanda keep more; one pass forward",
    .shares = shares};

}  // namespace allocations
}  // namespace prunus
