#pragma once
#include <map>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "prunus/adapter/lora.h"
#include "prunus/model/model.h"

namespace prunus {

/// A model's weights with an adapter merged in, rounded to the file's dtype, one tensor at a time
/// when it is read: W + s·B·A, with DoRA m · (W + s·B·A) / ‖W + s·B·A‖ row by row (an embedding
/// column by column), and what the adapter replaces or adds to. Zeros of a sparse weight
/// (zero_mask.h) stay zero, and what the adapter would have put there is counted.
class MergedSource : public WeightSource {
 public:
  MergedSource(std::shared_ptr<const WeightSource> base, LoraAdapter adapter);
  at::Tensor read(const TensorInfo& tensor) const override;
  bool has(const TensorInfo& tensor) const override { return base_->has(tensor); }
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

/// A model whose head is tied, seen as one with a head of its own that holds the same values; any
/// other as it is. An adapter may change one of the two alone.
Model untied(const Model& model);

/// Whether an adapter changes the embedding of tokens or the head.
bool touches_vocabulary(const LoraAdapter& adapter, const Model& model);

}  // namespace prunus
