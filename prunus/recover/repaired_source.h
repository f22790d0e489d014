#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"
#include "prunus/recover/sub_block.h"

namespace prunus {

/// Repaired layers in files, repaired-N.tensors and repaired-N.json (the tensors' names) in a work
/// folder, in FP32, so that no more than one layer is in memory and an interrupted repair goes on
/// behind the last one.
class RepairedLayers {
 public:
  RepairedLayers(const Model& model, std::string folder)
      : model_(&model), folder_(std::move(folder)) {}

  /// Throws Io.
  void keep(int layer, const std::vector<RepairedTensor>& tensors) const;
  /// Empty where the layer was not kept. Throws Corrupt.
  std::vector<RepairedTensor> restore(int layer) const;

 private:
  std::string path(int layer, const char* ending) const;

  const Model* model_;
  std::string folder_;
};

/// A model with its repaired layers: the layer of the last read is held.
class RepairedSource : public WeightSource {
 public:
  RepairedSource(std::shared_ptr<const WeightSource> base, RepairedLayers layers)
      : base_(std::move(base)), layers_(std::move(layers)) {}
  at::Tensor read(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo& tensor) const override { return base_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { base_->prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { base_->release(tensor); }

 private:
  std::shared_ptr<const WeightSource> base_;
  RepairedLayers layers_;
  mutable int held_layer_ = -1;
  mutable std::map<std::string, at::Tensor> held_;
};

}  // namespace prunus
