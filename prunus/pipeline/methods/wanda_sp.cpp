#include <ATen/ATen.h>

#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// |W[i, j]|·‖x_j‖₂ over all tokens.
at::Tensor element(const WeightStats& stats) {
  const at::Tensor norm = input_norm_of(stats.of_input(stats::input_norm));
  return stats.weight.abs() * norm.to(stats.weight.scalar_type());
}

constexpr Criterion kWanda{.name = "wanda",
                           .source = "Sun et al., arXiv:2306.11695, eq. 1",
                           .needs = {.statistics = {&stats::input_norm}},
                           .element = element};
constexpr const Criterion* kCriteria[] = {&kWanda};

}  // namespace

// Columns of the matrices that read a head or channel, added up. Source: the baseline of FLAP's
// program. Differs: statistics of the dense model, whatever was cut before.
extern const Method wanda_sp{
    .name = "wanda-sp",
    .source = "An et al., FLAP, arXiv:2312.11983 (baseline); Sun et al., arXiv:2306.11695",
    .summary = "|weight| times norm of the input, over the columns of o_proj and down_proj",
    .criteria = kCriteria,
    .members = Members::Consumers,
};

}  // namespace prunus::methods
