#include <numbers>

#include <ATen/ATen.h>

#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Mean of arccos(cos(x, x')) / π over the windows. A state of norm 0 counts as unchanged where it
// stays 0, else as turned by a right angle.
double distance(const at::Tensor& before, const at::Tensor& after) {
  const at::Tensor norms =
      at::linalg_vector_norm(before, 2, {1}) * at::linalg_vector_norm(after, 2, {1});
  const at::Tensor cosine = ((before * after).sum(1) / norms).clamp(-1, 1);
  const at::Tensor same = (before == after).all(1).to(at::kDouble);
  return at::where(norms == 0, same, cosine).acos().mean().item<double>() / std::numbers::pi;
}

constexpr Criterion kAngle{.name = "angular_distance",
                           .source = "Gromov et al., arXiv:2403.17887, section 3.2",
                           .needs = {.last_tokens = true},
                           .run = distance};
constexpr const Criterion* kCriteria[] = {&kAngle};

}  // namespace

// The layers alone: no training behind it.
extern const Method angular{
    .name = "angular",
    .source = "Gromov et al., arXiv:2403.17887",
    .summary = "drops the run of layers that turns the stream least (angle at the last token)",
    .criteria = kCriteria,
    .structure = Structure::Layer,
};

}  // namespace prunus::methods
