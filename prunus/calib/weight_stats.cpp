#include "prunus/calib/weight_stats.h"

#include "prunus/base/error.h"

namespace prunus {

const StatisticSums& WeightStats::of(const Statistic& statistic) const {
  const auto found = sums.find(&statistic);
  PRUNUS_CHECK(found != sums.end(), InvalidArgument, "statistic ", statistic.name,
               " was not gathered of this weight");
  return found->second;
}

}  // namespace prunus
