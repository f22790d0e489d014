#include "prunus/calib/expert_output_collector.h"

#include <limits>

#include <ATen/ATen.h>

namespace prunus {

void ExpertOutputCollector::on_forward(const LinearSite& site, const at::Tensor& input,
                                       const at::Tensor& /*output*/) {
  if (site.layer < 0 || site.role != Role::DownProj) return;
  const int64_t experts = config_.layers.at(static_cast<size_t>(site.layer)).experts;
  if (experts == 0) return;
  if (!stats_.output_norm.defined()) {
    stats_.output_norm = at::zeros({experts}, input.options().dtype(at::kDouble));
    stats_.routed_tokens = at::zeros_like(stats_.output_norm);
  }
  const at::Tensor inner = input.flatten(0, 1);
  const int64_t width = inner.size(1) / experts;
  for (int64_t expert = 0; expert < experts; ++expert) {
    const at::Tensor own = inner.narrow(1, expert * width, width);
    // The largest magnitude finds the tokens without a copy of the channels.
    const at::Tensor tokens =
        at::linalg_vector_norm(own, std::numeric_limits<double>::infinity(), {1})
            .nonzero()
            .squeeze(1);
    const at::Tensor added =
        at::linear(own.index_select(0, tokens), site.weight.narrow(1, expert * width, width));
    stats_.output_norm[expert] += at::linalg_vector_norm(added, 2, {1}).sum(at::kDouble);
    stats_.routed_tokens[expert] += tokens.size(0);
  }
  if (!site.last_batch) return;
  sink_(site.layer, stats_);
  stats_ = {};
}

}  // namespace prunus
