#include "prunus/pipeline/divergence.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/model/matmul.h"

namespace prunus {
namespace {

// The ids that come most often in the texts at hand, then the lowest: ascending.
at::Tensor likely_ids(const std::vector<const std::vector<TokenBatch>*>& texts, int64_t all,
                      int64_t most) {
  at::Tensor counts = at::zeros({all}, at::kLong);
  for (const auto* text : texts) {
    for (const TokenBatch& batch : *text) counts.add_(at::bincount(batch.ids.flatten(), {}, all));
  }
  const int64_t count = std::min(most, all);
  const at::Tensor ids = std::get<1>(counts.sort(true, 0, true)).narrow(0, 0, count);
  return std::get<0>(ids.sort());
}

}  // namespace

Divergence::Divergence(const Model& dense, const std::vector<const std::vector<TokenBatch>*>& texts,
                       int64_t vocabulary, at::Device device)
    : device_(device), norm_(dense, device) {
  const TensorInfo& head = dense.tensor(Role::LmHead);
  const at::Tensor rows =
      dense.source().select_rows(head, likely_ids(texts, head.shape[0], vocabulary));
  head_ = norm_.head_rows(rows.to(device).to(at::kFloat));
}

// [tokens, vocabulary]
at::Tensor Divergence::log_probabilities(const std::vector<at::Tensor>& hidden) const {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& one : hidden) {
    at::Tensor logits = product(norm_(one.to(device_)).flatten(0, 1).to(at::kFloat), head_.t());
    norm_.cap(logits);
    parts.push_back(logits.log_softmax(-1));
  }
  return at::cat(parts);
}

double Divergence::of(const std::vector<at::Tensor>& hidden) const {
  const at::Tensor log_q = log_probabilities(hidden);
  const at::Tensor log_p = log_p_.narrow(0, 0, log_q.size(0));
  return (log_p.exp() * (log_p - log_q)).sum(-1).mean(at::kDouble).item<double>();
}

}  // namespace prunus
