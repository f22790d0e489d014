#include "prunus/calib/statistic.h"

namespace prunus::stats {

const Statistic saliency{.name = "saliency",
                         .source = "arXiv:2305.11627 eq. 3",
                         .of = StatisticOf::Weight,
                         .pass = Pass::Backward};

}  // namespace prunus::stats
