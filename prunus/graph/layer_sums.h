#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// A layer whose matrices and their biases are Σ factor · those of other layers. Its norms stay its
/// own.
struct LayerSum {
  int64_t layer = 0;
  std::map<int64_t, int64_t> factors = {};  ///< by layer
};

/// The model with these layers made of others; which then go is a Keep's to say. Throws
/// InvalidArgument for a layer that the model does not have; Unsupported where layers that are
/// added differ in shape, or are mixtures, whose experts have no order in common.
Model with_layer_sums(const Model& model, const std::vector<LayerSum>& sums);

}  // namespace prunus
