#include "prunus/pipeline/layer_runs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/calib/mean_loss.h"

namespace prunus {
namespace {

// [windows, hidden_size]
at::Tensor last_tokens(const std::vector<at::Tensor>& hidden) {
  std::vector<at::Tensor> rows;
  for (const at::Tensor& batch : hidden) rows.push_back(batch.select(1, -1).to(at::kDouble));
  return at::cat(rows);
}

class LastTokens : public LayerVisitor {
 public:
  explicit LastTokens(std::vector<at::Tensor>& states) : states_(states) {}
  void after(int /*layer*/, const std::vector<at::Tensor>& hidden) override {
    states_.push_back(last_tokens(hidden));
  }

 private:
  std::vector<at::Tensor>& states_;
};

}  // namespace

std::vector<double> run_scores(const std::vector<at::Tensor>& states, int64_t length,
                               const Criterion& criterion) {
  const auto layers = static_cast<int64_t>(states.size()) - 1;
  TORCH_INTERNAL_ASSERT(length >= 1 && length <= layers);
  std::vector<double> runs;  // by first layer
  for (int64_t first = 0; first + length <= layers; ++first) {
    runs.push_back(criterion.run(states[static_cast<size_t>(first)],
                                 states[static_cast<size_t>(first + length)]));
    PRUNUS_CHECK(std::isfinite(runs.back()), Numeric, criterion.name, ": layers ", first, " to ",
                 first + length - 1, " score ", runs.back(),
                 ", expected a finite number; the model overflows on this text, or its weights are "
                 "damaged");
  }
  const auto least = std::min_element(runs.begin(), runs.end());
  const int64_t goes = least - runs.begin();
  const double above = std::nextafter(*least, std::numeric_limits<double>::infinity());
  std::vector<double> scores;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto begin = runs.begin() + std::max<int64_t>(0, layer - length + 1);
    const auto end = runs.begin() + std::min<int64_t>(layer, layers - length) + 1;
    const double score = *std::min_element(begin, end);
    const bool in_run = layer >= goes && layer < goes + length;
    scores.push_back(in_run ? *least : std::max(score, above));
  }
  return scores;
}

Scores run_scores(const Model& model, const GroupSet& layers, const Criterion& criterion,
                  const std::vector<TokenBatch>& batches, int64_t length, at::Device device) {
  const at::NoGradGuard no_grad;
  const BlockStream stream(model, device);
  std::vector<at::Tensor> hidden = stream.embed(batches);
  std::vector<at::Tensor> states{last_tokens(hidden)};
  LastTokens visitor(states);
  stream.walk(hidden, {0, model.layer_count()}, visitor, "calibrate, forward");
  return {.sets = {{.set = layers,
                    .scores = run_scores(states, std::max<int64_t>(1, length), criterion)}},
          .loss = mean_loss(model, device, batches, hidden)};
}

}  // namespace prunus
