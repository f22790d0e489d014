#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"
#include "prunus/model/weight_origin.h"

namespace prunus {

/// A tensor that takes the place of one of a model's, or one that its checkpoint lacks.
struct OverlayTensor {
  const TensorInfo* tensor = nullptr;  ///< of the model
  at::Tensor value;                    ///< CPU, any floating dtype
};

/// Tensors of layers in files, <stem>-N.tensors and <stem>-N.json (their names), floating ones in
/// FP32, so that no more than one layer is in memory and interrupted work goes on behind the last
/// one. The model must outlive it.
class LayerFiles {
 public:
  LayerFiles(const Model& model, std::string folder, std::string stem = "overlay")
      : model_(&model), folder_(std::move(folder)), stem_(std::move(stem)) {}

  /// Replaces what was kept of the layer. On the disk when it returns. Throws Io.
  void keep(int layer, const std::vector<OverlayTensor>& tensors) const;
  /// Empty where the layer was not kept. Throws Corrupt.
  std::vector<OverlayTensor> restore(int layer) const;

 private:
  std::string path(int layer, const char* ending) const;

  const Model* model_;
  std::string folder_;
  std::string stem_;
};

/// Whether a file of this name is one of LayerFiles.
bool is_overlay_file(const std::string& file_name);

/// Weights some of which are replaced by others of the same shape, or added: tensors that the
/// model's configuration calls for and the source below lacks (a bias). What is replaced keeps the
/// file's dtype, rounded when it is read; what is added has the dtype that it is given in.
/// Source of shrink, merge, repair, masks and solvers: all are views like this one.
class OverlaySource : public WeightSource, public TracedSource {
 public:
  /// `tensors` by TensorInfo::name.
  OverlaySource(std::shared_ptr<const WeightSource> base,
                std::map<std::string, at::Tensor> tensors);
  /// Layers from files: that of the last read is held. What they add is FP32.
  OverlaySource(std::shared_ptr<const WeightSource> base, LayerFiles layers);

  at::Tensor read(const TensorInfo& tensor) const override;
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override;
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override;
  bool has(const TensorInfo& tensor) const override;
  std::optional<WeightOrigin> origin(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo& tensor) const override;
  void prefetch(const TensorInfo& tensor) const override;
  void release(const TensorInfo& tensor) const override;

 private:
  const at::Tensor* find(const TensorInfo& tensor) const;

  std::shared_ptr<const WeightSource> base_;
  std::map<std::string, at::Tensor> tensors_;
  std::vector<LayerFiles> layers_;  // none or one
  mutable int held_layer_ = -1;
  mutable std::map<std::string, at::Tensor> held_;
};

}  // namespace prunus
