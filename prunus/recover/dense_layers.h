#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/model/model.h"
#include "prunus/train/train_model.h"

namespace prunus {

/// Which layer of its teacher each layer of a pruned model was: from plan.json beside it, where the
/// plan drops layers; else one to one. Throws InvalidArgument where the counts do not fit.
std::vector<int64_t> dense_layers(const std::string& model_dir, const Model& model,
                                  const Model& teacher);

/// A seam at each layer in front of dropped ones.
std::vector<Seam> seams_of(const std::vector<int64_t>& dense_layers, int64_t teacher_layers);

}  // namespace prunus
