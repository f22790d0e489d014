#include "prunus/calib/statistic.h"

namespace prunus::stats {

const Statistic sample_gradients{.name = "sample_gradients",
                                 .source = "arXiv:2305.11627, both orders",
                                 .of = StatisticOf::Weight,
                                 .pass = Pass::Backward};

}  // namespace prunus::stats
