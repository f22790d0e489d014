#include "prunus/calib/weight_stats.h"

#include <ATen/ATen.h>

namespace prunus {

WeightStats WeightStats::of_expert(const ExpertPart& part) const {
  WeightStats own;
  own.role = role;
  own.layer = layer;
  own.expert = part.expert;
  const auto cut = [&](const at::Tensor& whole, int64_t axis) {
    return whole.defined() ? part.part_of(whole, axis) : whole;
  };
  own.weight = cut(weight, part.dim);
  own.gradient = cut(gradient, part.dim);
  own.squared_gradient = cut(squared_gradient, part.dim);
  if (part.dim == 0) own.row_saliency = cut(row_saliency, 0);
  if (part.dim == 1) own.column_saliency = cut(column_saliency, 0);
  return own;
}

}  // namespace prunus
