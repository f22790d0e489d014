#include <ATen/ATen.h>

#include "prunus/pipeline/method.h"
#include "prunus/pipeline/removal.h"

namespace prunus::methods {
namespace {

// Σ |W·∂L/∂W|
double change(const WeightStats& stats) {
  const at::Tensor product = stats.weight * gradient_of(stats.of(stats::gradient));
  return product.abs_().sum(at::kDouble).item<double>();
}

constexpr Criterion kTaylorPlus{.name = "taylor_plus",
                                .source = "Kim et al., arXiv:2402.02834 (Taylor+)",
                                .needs = {.statistics = {&stats::gradient}},
                                .layer_matrix = change,
                                .first_kept = 4,
                                .last_kept = 2};
constexpr const Criterion* kCriteria[] = {&loss_without, &kTaylorPlus};

}  // namespace

// In one shot, without training behind it.
extern const Method shortened_llama{
    .name = "shortened-llama",
    .source = "Kim et al., Shortened LLaMA, arXiv:2402.02834",
    .summary =
        "drops the layers without which the loss is least, each alone; --taylor plus: those with "
        "the least sum of |w·g|, but the first 4 and last 2",
    .criteria = kCriteria,
    .structure = Structure::Layer,
};

}  // namespace prunus::methods
