#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion taylor_param_first, taylor_vectorize, taylor_param_second, taylor_param_mix;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {
    &criteria::taylor_param_first, &criteria::taylor_vectorize, &criteria::taylor_param_second,
    &criteria::taylor_param_mix};
}

extern const Method llm_pruner{
    .name = "llm-pruner",
    .source = "Ma, Fang, Wang, NeurIPS 2023, arXiv:2305.11627",
    .summary = "Taylor importance from calibration text, first or second order",
    .criteria = kCriteria,
};

}  // namespace methods
}  // namespace prunus
