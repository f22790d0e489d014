#include "prunus/recover/merge.h"

#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/recover/frozen_weight.h"
#include "prunus/recover/zero_mask.h"

namespace prunus {
namespace {

double squared_norm(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).square().sum().item<double>();
}

}  // namespace

MergedSource::MergedSource(std::shared_ptr<const WeightSource> base, LoraAdapter adapter)
    : base_(std::move(base)), adapter_(std::move(adapter)) {}

at::Tensor MergedSource::read(const TensorInfo& tensor) const {
  const at::NoGradGuard no_grad;
  const at::Tensor weight = base_->read(tensor);
  const auto found = adapter_.pairs.find({tensor.layer, tensor.spec->role});
  if (found == adapter_.pairs.end()) return weight;
  at::Tensor update = lora_update(found->second).to(at::kCPU);
  if (const auto keep = keep_mask(weight)) {
    MergeReport& report = reports_[tensor.name];
    report = {.sparse_weights = 1, .kept_zeros = keep->numel() - keep->sum().item<int64_t>()};
    const double whole = squared_norm(update);
    update.mul_(*keep);
    report.update_norm = std::sqrt(whole);
    report.masked_norm = std::sqrt(std::max(0.0, whole - squared_norm(update)));
  }
  return update.add_(weight).to(weight.scalar_type());
}

MergeReport MergedSource::report() const {
  MergeReport total;
  double masked = 0;
  double update = 0;
  for (const auto& [name, one] : reports_) {
    total.sparse_weights += one.sparse_weights;
    total.kept_zeros += one.kept_zeros;
    masked += one.masked_norm * one.masked_norm;
    update += one.update_norm * one.update_norm;
  }
  total.masked_norm = std::sqrt(masked);
  total.update_norm = std::sqrt(update);
  return total;
}

at::Tensor ReplacedSource::read(const TensorInfo& tensor) const {
  const auto found = tensors_.find(tensor.name);
  if (found == tensors_.end()) return base_->read(tensor);
  return found->second.detach().to(at::kCPU, base_->dtype(tensor));
}

void ReplacedSource::prefetch(const TensorInfo& tensor) const {
  if (!tensors_.contains(tensor.name)) base_->prefetch(tensor);
}

void ReplacedSource::release(const TensorInfo& tensor) const {
  if (!tensors_.contains(tensor.name)) base_->release(tensor);
}

}  // namespace prunus
