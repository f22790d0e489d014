#pragma once
#include <vector>

#include "prunus/model/model.h"
#include "prunus/train/train_data.h"

namespace prunus {

/// Mean −log p of the scored tokens in nats, the model streamed layer by layer.
double mean_nll(const Model& model, const std::vector<TrainRow>& rows, at::Device device);

}  // namespace prunus
