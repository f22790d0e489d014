#include "prunus/graph/layer_sums.h"

#include <algorithm>

#include "prunus/base/error.h"
#include "prunus/model/combined.h"

namespace prunus {
namespace {

// A matrix of a layer, or the bias of one.
bool is_added(const TensorInfo& tensor) {
  return tensor.layer >= 0 && (tensor.spec->rank == 2 || projection_of(tensor.spec->role));
}

void check_sums(const Model& model, const std::vector<LayerSum>& sums) {
  for (const LayerSum& sum : sums) {
    for (const auto& [layer, factor] : sum.factors) {
      PRUNUS_CHECK(
          std::min(layer, sum.layer) >= 0 && std::max(layer, sum.layer) < model.layer_count(),
          InvalidArgument, "layer ", sum.layer, " is to be made of layer ", layer,
          "; the model has layers 0 to ", model.layer_count() - 1);
    }
  }
  for (const TensorInfo& tensor : model.tensors()) {
    for (const LayerSum& sum : sums) {
      if (tensor.layer != sum.layer || !is_added(tensor)) continue;
      const auto experts = model.config().layers[static_cast<size_t>(sum.layer)].experts;
      PRUNUS_CHECK(experts == 0, Unsupported, "layer ", sum.layer,
                   " is a mixture of experts, which have no order in common with those of other "
                   "layers: it cannot be made of several");
      for (const auto& [layer, factor] : sum.factors) {
        const auto& shape = model.config().layers[static_cast<size_t>(layer)];
        const bool same =
            shape.has(*sub_layer_of(tensor.spec->role)) && shape.experts == 0 &&
            model.tensor(tensor.spec->role, static_cast<int>(layer)).shape == tensor.shape;
        PRUNUS_CHECK(same, Unsupported, "'", tensor.name, "' differs in shape from that of layer ",
                     layer, ": layers of different sizes cannot be added");
      }
    }
  }
}

}  // namespace

Model with_layer_sums(const Model& model, const std::vector<LayerSum>& sums) {
  check_sums(model, sums);
  const auto terms = [model, sums](const TensorInfo& tensor) {
    WeightTerms made;
    if (!is_added(tensor)) return made;
    for (const LayerSum& sum : sums) {
      if (sum.layer != tensor.layer) continue;
      for (const auto& [layer, factor] : sum.factors) {
        if (factor == 0) continue;
        made.emplace_back(static_cast<double>(factor),
                          model.tensor(tensor.spec->role, static_cast<int>(layer)));
      }
    }
    return made;
  };
  return combined(model, terms);
}

}  // namespace prunus
