#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {
constexpr std::string_view kCriteria[] = {"taylor_param_first", "taylor_vectorize",
                                          "taylor_param_second", "taylor_param_mix"};
}

extern const Method llm_pruner{
    .name = "llm-pruner",
    .source = "Ma, Fang, Wang, NeurIPS 2023, arXiv:2305.11627",
    .summary = "Taylor importance from calibration text, first or second order",
    .criteria = kCriteria,
};

}  // namespace prunus::methods
