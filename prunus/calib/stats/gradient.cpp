#include "prunus/calib/statistic.h"

namespace prunus::stats {

const Statistic gradient{.name = "gradient",
                         .source = "arXiv:2305.11627, first order",
                         .of = StatisticOf::Weight,
                         .pass = Pass::Backward};

}  // namespace prunus::stats
