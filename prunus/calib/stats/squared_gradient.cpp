#include "prunus/calib/statistic.h"

namespace prunus::stats {

const Statistic squared_gradient{
    .name = "squared_gradient",
    .source = "arXiv:2305.11627, second order: the diagonal of the Fisher matrix",
    .of = StatisticOf::Weight,
    .pass = Pass::Backward};

}  // namespace prunus::stats
