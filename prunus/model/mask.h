#pragma once
#include <map>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "prunus/model/overlay.h"

namespace prunus {

/// Eight of a row in each byte, the first in its lowest bit; what a row's last byte has over is 0.
/// kept: bool [out, in] → U8 [out, ⌈in/8⌉], both on the CPU.
at::Tensor pack_mask(const at::Tensor& kept);
/// The reverse, for so many columns. Throws Corrupt where the packed mask is not that of a matrix
/// of so many columns.
at::Tensor unpack_mask(const at::Tensor& packed, int64_t columns);

/// Which weights of a model's matrices stay and which are zero, packed, in files of a folder:
/// mask-N.tensors and mask-N.json for layer N (docs/formats/mask.md).
LayerFiles mask_files(const Model& model, std::string folder);
bool is_mask_file(const std::string& file_name);

/// SHA-256 over the masks of all layers, by their names and contents: files of two folders with
/// equal masks have the same. Throws as LayerFiles::restore.
std::string sha256_of_masks(const Model& model, const LayerFiles& masks);

/// A model's weights with those that a mask leaves out set to zero; matrices without a mask are as
/// they were. One layer's masks are in memory at a time.
class MaskedSource : public WeightSource, public TracedSource {
 public:
  /// `folder`: of the model's mask_files().
  MaskedSource(Model model, std::string folder)
      : model_(std::move(model)),
        base_(model_.shared_source()),
        masks_(mask_files(model_, std::move(folder))) {}
  MaskedSource(const MaskedSource&) = delete;
  MaskedSource& operator=(const MaskedSource&) = delete;

  /// Throws Corrupt where a mask has not its weight's shape.
  at::Tensor read(const TensorInfo& tensor) const override;
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override;
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override;
  bool has(const TensorInfo& tensor) const override { return base_->has(tensor); }
  std::optional<WeightOrigin> origin(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo& tensor) const override { return base_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { base_->prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { base_->release(tensor); }

 private:
  const at::Tensor* find(const TensorInfo& tensor) const;

  Model model_;
  std::shared_ptr<const WeightSource> base_;
  LayerFiles masks_;  // of model_
  mutable int held_layer_ = -1;
  mutable std::map<std::string, at::Tensor> held_;
};

/// The model with the zeros of the masks in a folder.
Model masked(const Model& model, const std::string& folder);

}  // namespace prunus
