#pragma once
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "prunus/calib/collector.h"
#include "prunus/calib/weight_stats.h"

namespace prunus {

/// Shows the backward pass of the block stream to the statistics of weights that are asked for
/// (Statistic::add_product), and hands what they made of a weight to `sink` as soon as the last
/// batch has passed, after which it is dropped: with one batch, never more than one weight's sums
/// are in memory. The experts of a mixture are one weight here: each adds to its part of the joined
/// matrix, and `sink` gets that when the last batch has passed through all of them. An expert's own
/// tokens are all that count for its part, so that of one that no token chose is 0.
class GradientCollector : public Collector {
 public:
  using Sink = std::function<void(const LinearSite&, const WeightStats&)>;
  using Wanted = std::function<bool(int layer, Role role)>;
  /// `wanted` says which weights matter; others cost nothing. A weight that comes some rows at a
  /// time reaches `sink` so, too, unless the statistics are added up over all rows
  /// (Statistic::over_rows; either all of them are, or none).
  GradientCollector(const Needs& needs, Wanted wanted, Sink sink, Biases biases = Biases::Counted);

  bool wants(int layer, Role role) const override { return wanted_(layer, role); }
  bool wants_grad_input() const override;
  void on_backward(const BackwardProduct& product) override;
  void on_scale_backward(const BackwardGain& gain) override;

 private:
  struct Pending {
    WeightStats stats;
    int experts_done = 0;  // that the last batch has passed through
  };
  bool over_rows() const;
  void hand_over(const LinearSite& site);

  std::vector<const Statistic*> statistics_;
  Biases biases_;
  Wanted wanted_;
  Sink sink_;
  std::map<std::pair<int, Role>, Pending> pending_;
};

}  // namespace prunus
