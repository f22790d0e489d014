#include "prunus/calib/mean_loss.h"

#include <cmath>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/model/head.h"

namespace prunus {

double mean_loss(const Model& model, at::Device device, const std::vector<TokenBatch>& batches,
                 const std::vector<at::Tensor>& hidden) {
  const Head head(model, device);
  double sum = 0;
  int64_t predicted = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const int64_t last = batches[i].ids.size(1) - 1;
    const at::Tensor targets = batches[i].ids.narrow(1, 1, last).to(device).flatten();
    const at::Tensor states = hidden[i].to(device).narrow(1, 0, last).flatten(0, 1);
    const at::Tensor nll = head.token_nll(states, targets);
    sum += nll.sum(at::kDouble).item<double>();
    predicted += targets.size(0);
  }
  const double loss = sum / static_cast<double>(predicted);
  PRUNUS_CHECK(std::isfinite(loss), Numeric, "the calibration loss is ", loss,
               "; the model overflows on this text, or its weights are damaged");
  return loss;
}

}  // namespace prunus
