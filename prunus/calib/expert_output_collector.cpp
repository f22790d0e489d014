#include "prunus/calib/expert_output_collector.h"

#include <ATen/ATen.h>

namespace prunus {

void ExpertOutputCollector::on_forward(const LinearSite& site, const at::Tensor& /*input*/,
                                       const at::Tensor& output) {
  if (!site.part.present() || site.role != Role::DownProj) return;
  const int64_t experts = config_.layers.at(static_cast<size_t>(site.layer)).experts;
  TORCH_INTERNAL_ASSERT(site.part.experts == experts);
  if (!stats_.output_norm.defined()) {
    stats_.output_norm = at::zeros({experts}, output.options().dtype(at::kDouble));
    stats_.routed_tokens = at::zeros_like(stats_.output_norm);
  }
  const int expert = site.part.expert;
  stats_.output_norm[expert] += at::linalg_vector_norm(output, 2, {1}).sum(at::kDouble);
  stats_.routed_tokens[expert] += output.size(0);
  if (!site.last_batch || expert + 1 < experts) return;
  sink_(site.layer, stats_);
  stats_ = {};
}

}  // namespace prunus
