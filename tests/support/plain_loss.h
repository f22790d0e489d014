#pragma once
#include <vector>

#include <ATen/ATen.h>

#include "prunus/calib/vocab_pass.h"
#include "prunus/graph/shrink.h"

#include "support/tiny_model.h"

namespace prunus::test {

/// Mean next-token loss in nats from all logits at once, in FP64.
inline double plain_loss(const Model& model, const std::vector<TokenBatch>& batches) {
  Model exact = model;
  exact.set_precision(at::kDouble);
  double sum = 0;
  int64_t count = 0;
  for (const TokenBatch& batch : batches) {
    const int64_t last = batch.ids.size(1) - 1;
    const at::Tensor log_p = logits_of(exact, batch.ids).to(at::kDouble).log_softmax(-1);
    const at::Tensor targets = batch.ids.narrow(1, 1, last).unsqueeze(-1);
    sum -= log_p.narrow(1, 0, last).gather(-1, targets).sum().item<double>();
    count += targets.numel();
  }
  return sum / static_cast<double>(count);
}

/// The model without one layer, or without one part of it.
inline Model without_unit(const Model& model, int64_t layer, std::optional<SubLayer> part = {}) {
  if (part) return shrink(model, {without_sub_layer(model, *part, {layer})});
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < model.layer_count(); ++i) {
    if (i != layer) kept.push_back(i);
  }
  return shrink(model, {{AxisLabel::Layer, -1, kept}});
}

}  // namespace prunus::test
