#pragma once
#include <string>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// A uniform model of the same mathematics: every layer as wide as the widest, what is added zero.
/// Zero rows of gate and up, zero columns of down, zero columns of o_proj add nothing; heads that
/// lost channels get them back as zeros at their old places, under the old rotation and scale. A
/// sub-layer that a layer lacks becomes one of zeros.
struct Shell {
  ModelConfig config;
  std::vector<std::string> obstacles;  ///< why there is none, or stock software does not open it

  bool legal() const { return obstacles.empty(); }
};

/// Of a model that is uniform already: the model itself.
Shell shell_of(const ModelConfig& config);

/// The model, its tensors padded with zeros when they are read, and gains of norms that it lacks
/// with what leaves a value as it is. `config`: that of the model with larger sizes, such as that
/// of a legal shell_of(model.config()).
Model padded(const Model& model, const ModelConfig& config);

}  // namespace prunus
