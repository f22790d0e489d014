#include "prunus/calib/weight_stats.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {

const StatisticSums& WeightStats::of(const Statistic& statistic) const {
  const auto found = sums.find(&statistic);
  PRUNUS_CHECK(found != sums.end(), InvalidArgument, "statistic ", statistic.name,
               " was not gathered of this weight");
  return found->second;
}

WeightStats WeightStats::of_expert(const ExpertPart& part) const {
  WeightStats own;
  own.role = role;
  own.layer = layer;
  own.expert = part.expert;
  own.weight = part.part_of(weight, part.dim);
  for (const auto& [statistic, whole] : sums) {
    StatisticSums& cut = own.sums[statistic];
    cut.tokens = whole.tokens;
    for (const at::Tensor& sum : whole.sums) {
      const bool elements = sum.defined() && sum.sizes() == weight.sizes();
      cut.sums.push_back(elements ? part.part_of(sum, part.dim) : at::Tensor());
    }
  }
  return own;
}

}  // namespace prunus
