#include "prunus/train/mean_nll.h"

#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/calib/stream.h"
#include "prunus/model/lm_head.h"
#include "prunus/train/loss_head.h"

namespace prunus {

double mean_nll(const Model& model, const std::vector<TrainRow>& rows, at::Device device) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> numbers(rows.size());
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  constexpr int64_t kRows = 4;
  const std::vector<TrainBatch> batches = make_train_batches(rows, numbers, kRows);
  std::vector<TokenBatch> tokens;
  for (const TrainBatch& batch : batches) tokens.push_back({batch.ids});
  const BlockStream stream(model, device);
  std::vector<at::Tensor> hidden = stream.embed(tokens);
  stream.forward(hidden);
  const LmHead head(model, device);
  double sum = 0;
  int64_t targets = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const ScoredPlaces scored = scored_places(batches[i], device);
    const at::Tensor states = hidden[i].to(device).flatten(0, 1).index_select(0, scored.places);
    sum += head.token_nll(states, scored.targets).sum(at::kDouble).item<double>();
    targets += batches[i].targets;
  }
  return sum / static_cast<double>(targets);
}

}  // namespace prunus
