#pragma once
#include <vector>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"

namespace prunus {

/// Mean next-token loss over all predicted tokens of all batches, in nats. `hidden`: what leaves
/// the last layer, [batch, seq, hidden_size] each. Throws Numeric if it is not finite.
double mean_loss(const Model& model, at::Device device, const std::vector<TokenBatch>& batches,
                 const std::vector<at::Tensor>& hidden);

}  // namespace prunus
