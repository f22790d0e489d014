#pragma once
#include <map>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"
#include "prunus/recover/lora.h"

namespace prunus {

/// A model's weights with an adapter merged in, rounded to the file's dtype, one tensor at a time
/// when it is read: W + s·B·A, with DoRA m · (W + s·B·A) / ‖W + s·B·A‖ row by row (an embedding
/// column by column), and what the adapter replaces or adds to. Zeros of a sparse weight
/// (zero_mask.h) stay zero, and what the adapter would have put there is counted.
class MergedSource : public WeightSource {
 public:
  MergedSource(std::shared_ptr<const WeightSource> base, LoraAdapter adapter);
  at::Tensor read(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo& tensor) const override { return base_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { base_->prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { base_->release(tensor); }
  /// Over the weights read so far, each counted once.
  MergeReport report() const;

 private:
  std::shared_ptr<const WeightSource> base_;
  LoraAdapter adapter_;
  mutable std::map<std::string, MergeReport> reports_;
};

/// A model some of whose tensors are replaced by others of the same shape, given in any floating
/// dtype and rounded to the file's (or to `dtype`, where it is defined) when they are read.
class ReplacedSource : public WeightSource {
 public:
  ReplacedSource(std::shared_ptr<const WeightSource> base,
                 std::map<std::string, at::Tensor> tensors)
      : base_(std::move(base)), tensors_(std::move(tensors)) {}
  at::Tensor read(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo& tensor) const override { return base_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override;
  void release(const TensorInfo& tensor) const override;

 private:
  std::shared_ptr<const WeightSource> base_;
  std::map<std::string, at::Tensor> tensors_;
};

/// A model whose head is tied, seen as one with a head of its own that holds the same values; any
/// other as it is. An adapter may change one of the two alone.
Model untied(const Model& model);

/// Whether an adapter changes the embedding of tokens or the head.
bool touches_vocabulary(const LoraAdapter& adapter, const Model& model);

}  // namespace prunus
