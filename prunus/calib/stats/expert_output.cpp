#include "prunus/calib/statistic.h"

namespace prunus::stats {

const Statistic expert_output{.name = "expert_output",
                              .source = "arXiv:2510.13999",
                              .of = StatisticOf::Expert,
                              .pass = Pass::Forward};

}  // namespace prunus::stats
