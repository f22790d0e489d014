#pragma once
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/collector.h"
#include "prunus/calib/statistic.h"

namespace prunus {

/// The statistics of one layer.
class LayerStatistics {
 public:
  LayerStatistics() = default;
  /// What is known of one product's input, gathered elsewhere.
  LayerStatistics(const Statistic& statistic, Role role, StatisticSums sums);
  LayerStatistics(Role role, const std::map<const Statistic*, StatisticSums>& sums);

  /// Of the input of a product; of the block (StatisticOf::Block) for any role. Roles that read the
  /// same input share one. The products of a mixture's experts are told apart by `expert` (−1 for
  /// those of no expert): each has the statistics of the tokens that chose it, of none perhaps.
  /// Throws InvalidArgument where it was not asked for.
  const StatisticSums& of(const Statistic& statistic, Role role, int expert = -1) const;
  /// Of what each expert puts out (StatisticOf::Expert), in order; none where there are no experts.
  std::vector<StatisticSums> of_experts(const Statistic& statistic) const;
  /// Of the block.
  const StatisticSums& of_block(const Statistic& statistic) const {
    return of(statistic, Role::QProj);
  }
  /// Which input a product reads, counted from 0 in the order of first use.
  int input_of(Role role, int expert = -1) const;
  /// What all of it takes.
  int64_t bytes() const;

 private:
  friend class StatisticsCollector;
  // Of an input by its number, of an expert by its own, of the block by −1.
  using Key = std::pair<const Statistic*, int>;
  std::map<std::pair<Role, int>, int> inputs_;  // by role and expert
  std::map<Key, StatisticSums> sums_;
};

/// Gathers statistics of the forward pass layer by layer. Each distinct input of a layer's products
/// is added up once, however many products read it: what it is told apart by is the tensor itself.
/// Of a mixture, the tokens of each expert are an input of their own, and what an expert puts out
/// is seen behind its down projection. Memory: the sums of one layer, and those that the sink
/// keeps.
class StatisticsCollector : public Collector {
 public:
  /// Which statistics are wanted of the input of this product; of what an expert puts out, where
  /// this is its down projection; of the block, if any product of the layer asks for one of those
  /// (of a layer without products, its down projection).
  using Wanted = std::function<std::vector<const Statistic*>(int layer, Role role)>;
  /// Called when the last batch has passed through a layer, or a stage of it.
  using Sink = std::function<void(int layer, const LayerStatistics&)>;
  StatisticsCollector(Wanted wanted, Sink sink)
      : wanted_(std::move(wanted)), sink_(std::move(sink)) {}

  void on_forward(const LinearSite& site, const at::Tensor& input,
                  const at::Tensor& output) override;
  void on_block(int layer, const at::Tensor& before, const at::Tensor& after,
                bool last_batch) override;
  void on_stage(int layer, bool last_batch) override;

 private:
  void add(const LayerStatistics::Key& key, const at::Tensor& x, const at::Tensor& y);
  void add_samples(const LayerStatistics::Key& key, const LinearSite& site, const at::Tensor& x);
  void end_batch(int layer, bool last_batch);
  int number_of(const LinearSite& site, const at::Tensor& input);

  Wanted wanted_;
  Sink sink_;
  LayerStatistics layer_;
  // Of the batch under way: inputs by number, held weakly, so that another cannot have the same
  // address while their values may go; and which of them each statistic has seen.
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> seen_;
  std::map<LayerStatistics::Key, bool> added_;
  std::vector<const Statistic*> of_block_;
};

}  // namespace prunus
