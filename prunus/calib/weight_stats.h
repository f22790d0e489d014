#pragma once
#include <map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/needs.h"
#include "prunus/calib/statistics_collector.h"

namespace prunus {

/// One weight W [out, in] as calibration saw it, or some rows of it. A vector (the gain of a norm)
/// is a matrix of one column. Known of it is what the criterion's Needs ask for.
struct WeightStats {
  at::Tensor weight;  ///< [out, in]
  at::Tensor bias;    ///< [out], where it counts; the sums have it apart, as bias_sums
  Role role = Role::QProj;
  /// Statistics of the weight itself (StatisticOf::Weight).
  std::map<const Statistic*, StatisticSums> sums;
  /// Of the layer that it is in, where statistics of the forward pass are asked for.
  const LayerStatistics* layer = nullptr;

  /// Sums of a statistic of the weight. Throws InvalidArgument where it was not gathered.
  const StatisticSums& of(const Statistic& statistic) const;
  /// Of its input, or of the layer.
  const StatisticSums& of_input(const Statistic& statistic) const {
    return layer->of(statistic, role);
  }
  /// Of a mixture, as part of its router, whose rows are the experts: of each of them.
  std::vector<StatisticSums> of_experts(const Statistic& statistic) const {
    return layer->of_experts(statistic);
  }
};

}  // namespace prunus
