#pragma once
#include <map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/needs.h"
#include "prunus/calib/statistics_collector.h"
#include "prunus/model/linear_tap.h"

namespace prunus {

/// One weight W [out, in] as calibration saw it, or some rows of it. A vector (the gain of a norm)
/// is a matrix of one column. Known of it is what the criterion's Needs ask for.
struct WeightStats {
  at::Tensor weight;  ///< [out, in]
  at::Tensor bias;    ///< [out], where it counts; the sums have it apart, as bias_sums
  Role role = Role::QProj;
  int expert = -1;  ///< of a mixture's experts one by one; −1: none, or all joined
  /// Statistics of the weight itself (StatisticOf::Weight).
  std::map<const Statistic*, StatisticSums> sums;
  /// Of the layer that it is in, where statistics of the forward pass are asked for.
  const LayerStatistics* layer = nullptr;

  /// Sums of a statistic of the weight. Throws InvalidArgument where it was not gathered.
  const StatisticSums& of(const Statistic& statistic) const;
  /// Of its input, or of the layer.
  const StatisticSums& of_input(const Statistic& statistic) const {
    return layer->of(statistic, role, expert);
  }
  /// Of a mixture, as part of its router, whose rows are the experts: of each of them.
  std::vector<StatisticSums> of_experts(const Statistic& statistic) const {
    return layer->of_experts(statistic);
  }

  /// What is known of one expert's part of the experts' joined weight: its part of the weight and
  /// of the sums of that shape, and the statistics of its own input.
  WeightStats of_expert(const ExpertPart& part) const;
};

}  // namespace prunus
