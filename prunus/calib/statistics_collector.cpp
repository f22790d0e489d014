#include "prunus/calib/statistics_collector.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {

LayerStatistics::LayerStatistics(const Statistic& statistic, Role role, StatisticSums sums) {
  inputs_[{role, -1}] = 0;
  sums_[{&statistic, 0}] = std::move(sums);
}

LayerStatistics::LayerStatistics(Role role, const std::map<const Statistic*, StatisticSums>& sums) {
  inputs_[{role, -1}] = 0;
  for (const auto& [statistic, of] : sums) sums_[{statistic, 0}] = of;
}

const StatisticSums& LayerStatistics::of(const Statistic& statistic, Role role, int expert) const {
  const int input = statistic.of == StatisticOf::Block ? -1 : input_of(role, expert);
  const auto found = sums_.find({&statistic, input});
  PRUNUS_CHECK(found != sums_.end(), InvalidArgument, "statistic ", statistic.name,
               " was not gathered here");
  return found->second;
}

std::vector<StatisticSums> LayerStatistics::of_experts(const Statistic& statistic) const {
  std::vector<StatisticSums> experts;
  for (auto at = sums_.lower_bound({&statistic, 0});
       at != sums_.end() && at->first.first == &statistic; ++at) {
    experts.push_back(at->second);
  }
  return experts;
}

int LayerStatistics::input_of(Role role, int expert) const {
  const auto found = inputs_.find({role, expert});
  PRUNUS_CHECK(found != inputs_.end(), InvalidArgument,
               "statistics: the layer has no such product, of ",
               expert < 0 ? "no expert; those of a mixture are asked for one by one"
                          : c10::str("expert ", expert));
  return found->second;
}

int64_t LayerStatistics::bytes() const {
  int64_t bytes = 0;
  for (const auto& [key, sums] : sums_) bytes += sums.bytes();
  return bytes;
}

// In the first batch inputs are numbered as they come; the others must find them again.
int StatisticsCollector::number_of(const LinearSite& site, const at::Tensor& input) {
  const auto same = std::find_if(seen_.begin(), seen_.end(), [&](const auto& one) {
    return one._unsafe_get_target() == input.unsafeGetTensorImpl();
  });
  const auto number = static_cast<int>(same - seen_.begin());
  if (same == seen_.end()) seen_.emplace_back(input.getIntrusivePtr());
  const auto [known, first] =
      layer_.inputs_.emplace(std::pair(site.role, site.part.expert), number);
  TORCH_INTERNAL_ASSERT(first || known->second == number);
  return number;
}

void StatisticsCollector::on_forward(const LinearSite& site, const at::Tensor& input,
                                     const at::Tensor& output) {
  const int number = number_of(site, input);
  for (const Statistic* statistic : wanted_(site.layer, site.role)) {
    switch (statistic->of) {
      case StatisticOf::Input:
        if (std::exchange(added_[{statistic, number}], true)) break;
        if (statistic->by_sample) {
          add_samples({statistic, number}, site, input);
        } else {
          add({statistic, number}, input, {});
        }
        break;
      case StatisticOf::Block:
        if (std::find(of_block_.begin(), of_block_.end(), statistic) == of_block_.end()) {
          of_block_.push_back(statistic);
        }
        break;
      case StatisticOf::Expert:
        if (site.part.present() && site.role == Role::DownProj) {
          add({statistic, site.part.expert}, output, {});
        }
        break;
      case StatisticOf::Weight:
        TORCH_INTERNAL_ASSERT(false, statistic->name, " is of the backward pass");
    }
  }
}

void StatisticsCollector::add(const LayerStatistics::Key& key, const at::Tensor& x,
                              const at::Tensor& y) {
  StatisticSums& sums = layer_.sums_[key];
  const at::Tensor tokens = x.flatten(0, -2);
  key.first->add(sums.sums, tokens, y);
  sums.tokens += tokens.size(0);
}

// `x` [batch, seq, channels], of an expert the tokens of the rows one after another.
void StatisticsCollector::add_samples(const LayerStatistics::Key& key, const LinearSite& site,
                                      const at::Tensor& x) {
  StatisticSums& sums = layer_.sums_[key];
  const std::vector<at::Tensor> samples =
      site.part.present() ? x.split_with_sizes(site.part.row_tokens, 0) : x.unbind(0);
  for (const at::Tensor& one : samples) {
    key.first->add(sums.sums, one.unflatten(1, {-1, site.group}), {});
    sums.tokens += one.size(0);
  }
}

void StatisticsCollector::on_block(int layer, const at::Tensor& before, const at::Tensor& after,
                                   bool last_batch) {
  if (layer_.inputs_.empty()) {  // a layer without products has a block all the same
    for (const Statistic* statistic : wanted_(layer, Role::DownProj)) {
      if (statistic->of == StatisticOf::Block) of_block_.push_back(statistic);
    }
  }
  for (const Statistic* statistic : of_block_) add({statistic, -1}, before, after.flatten(0, -2));
  of_block_.clear();
  end_batch(layer, last_batch);
}

void StatisticsCollector::on_stage(int layer, bool last_batch) { end_batch(layer, last_batch); }

void StatisticsCollector::end_batch(int layer, bool last_batch) {
  seen_.clear();
  added_.clear();
  if (!last_batch) return;
  sink_(layer, layer_);
  layer_ = {};
}

}  // namespace prunus
