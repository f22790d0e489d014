#pragma once
#include <functional>
#include <utility>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// What a weight is made of: factors and the weights of a model that they multiply, all of one
/// shape.
using WeightTerms = std::vector<std::pair<double, TensorInfo>>;

/// The model with weights that are sums of its weights: Σ factor · weight of terms(tensor), in
/// FP32, rounded to the dtype of `tensor`; as it is where there are no terms. An ordinary Model
/// whose weights are made when they are read.
Model combined(const Model& model, std::function<WeightTerms(const TensorInfo&)> terms);

}  // namespace prunus
