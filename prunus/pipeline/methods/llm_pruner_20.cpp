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

// The paper's experiment with 20 % of LLaMA's parameters removed.
extern const Method llm_pruner_20{
    .name = "llm-pruner-20",
    .source = "Ma, Fang, Wang, NeurIPS 2023, arXiv:2305.11627, section 4.1",
    .summary =
        "llm-pruner at the paper's setting for 20 %: ratio 0.25, without the first 4 and last 2 "
        "layers",
    .criteria = kCriteria,
    .ratio = 0.25,
    .preset_of = "llm-pruner",
    .skip_first = 4,
    .skip_last = 2,
};

}  // namespace methods
}  // namespace prunus
