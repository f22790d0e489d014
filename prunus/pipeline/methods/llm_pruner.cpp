#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {
constexpr std::string_view kCriteria[] = {"taylor_param_first", "taylor_vectorize"};
}

extern const Method llm_pruner{
    .name = "llm-pruner",
    .source = "Ma, Fang, Wang, NeurIPS 2023, arXiv:2305.11627",
    .summary = "first-order Taylor importance from calibration text",
    .criteria = kCriteria,
    .budget = "uniform",
};

}  // namespace prunus::methods
