#pragma once
#include <optional>

#include <ATen/core/Tensor.h>

#include "prunus/model/weights.h"

namespace prunus {

/// Where a weight was taken from: rows and columns of a weight of another source.
struct WeightOrigin {
  const WeightSource* source = nullptr;
  TensorInfo tensor = {};   ///< of that source's model
  at::Tensor rows = {};     ///< int64, of dimension 0, in order; undefined: all
  at::Tensor columns = {};  ///< the same of dimension 1
  bool same_values = true;  ///< false: they were changed on the way (a mask, a repair)
};

/// A source that tells where its weights come from: the files, or a view of another source.
class TracedSource {
 public:
  virtual ~TracedSource() = default;
  /// Null where the source below does not tell.
  virtual std::optional<WeightOrigin> origin(const TensorInfo& tensor) const = 0;
};

/// The origin of a weight through all views of it; null where it was computed, or nobody tells.
inline std::optional<WeightOrigin> origin_of(const WeightSource& source, const TensorInfo& tensor) {
  const auto* traced = dynamic_cast<const TracedSource*>(&source);
  return traced == nullptr ? std::nullopt : traced->origin(tensor);
}

}  // namespace prunus
