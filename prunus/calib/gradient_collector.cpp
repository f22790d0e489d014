#include "prunus/calib/gradient_collector.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace prunus {

GradientCollector::GradientCollector(const Needs& needs, Wanted wanted, Sink sink, Biases biases)
    : biases_(biases), wanted_(std::move(wanted)), sink_(std::move(sink)) {
  for (const Statistic* one : needs.statistics) {
    if (one != nullptr && one->of == StatisticOf::Weight) statistics_.push_back(one);
  }
  for (const Statistic* one : statistics_) {
    TORCH_INTERNAL_ASSERT(one->over_rows == over_rows(), "statistic ", one->name);
  }
}

bool GradientCollector::wants_grad_input() const {
  return std::any_of(statistics_.begin(), statistics_.end(),
                     [](const Statistic* one) { return one->grad_input; });
}

bool GradientCollector::over_rows() const {
  return !statistics_.empty() && statistics_.front()->over_rows;
}

void GradientCollector::on_backward(const BackwardProduct& product) {
  const LinearSite& site = product.site;
  if (!wants(site.layer, site.role)) return;
  Pending& pending = pending_[{site.layer, site.role}];
  pending.stats.weight = site.part.present() ? site.part.joined : site.weight;
  pending.stats.role = site.role;
  for (const Statistic* one : statistics_) {
    StatisticSums& sums = pending.stats.sums[one];
    one->add_product(sums, product, biases_);
    sums.tokens += product.input.numel() / product.input.size(-1);
    if (!sums.bias_sums.empty()) pending.stats.bias = site.bias;
  }
  if (!site.last_batch || (over_rows() && !site.last_rows)) return;
  if (!site.part.present() || ++pending.experts_done == site.part.experts) hand_over(site);
}

void GradientCollector::on_scale_backward(const BackwardGain& gain) {
  const LinearSite& site = gain.site;
  if (!wants(site.layer, site.role)) return;
  WeightStats& stats = pending_[{site.layer, site.role}].stats;
  stats.weight = site.weight.unsqueeze(1);
  stats.role = site.role;
  for (const Statistic* one : statistics_) {
    StatisticSums& sums = stats.sums[one];
    one->add_gain(sums, gain, biases_);
    sums.tokens += gain.normalised.numel() / gain.normalised.size(-1);
  }
  if (site.last_batch) hand_over(site);
}

void GradientCollector::hand_over(const LinearSite& site) {
  const auto found = pending_.find({site.layer, site.role});
  LinearSite whole = site;
  if (site.part.present()) {
    whole.weight = site.part.joined;
    whole.part = {};
  }
  sink_(whole, found->second.stats);
  pending_.erase(found);
}

}  // namespace prunus
