#include "prunus/adapter/merge.h"

#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/zero_mask.h"

namespace prunus {
namespace {

double squared_norm(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).square().sum().item<double>();
}

// What merging adds to a weight. DoRA sets the length of each row, or column, to its magnitude; one
// of length 0 stays.
at::Tensor update_of(const at::Tensor& weight, const LoraPair& pair, Role role) {
  at::Tensor update = lora_update(pair).to(at::kCPU);
  if (!pair.magnitude.defined()) return update;
  const bool columns = role == Role::EmbedTokens || role == Role::EmbedPositions;
  const int64_t along = columns ? 0 : 1;
  const at::Tensor base = weight.to(at::kFloat);
  const at::Tensor sum = update.add_(base);
  const at::Tensor length = at::linalg_vector_norm(sum, 2, {along}, /*keepdim=*/true);
  const at::Tensor factor = pair.magnitude.to(at::kCPU).unsqueeze(along) / length;
  return at::where(length > 0, sum * factor, sum).sub_(base);
}

// A head of its own in front of a source that has none.
class UntiedSource : public WeightSource {
 public:
  explicit UntiedSource(const Model& tied)
      : base_(tied.shared_source()), embedding_(tied.tensor(Role::EmbedTokens)) {}
  at::Tensor read(const TensorInfo& tensor) const override { return base_->read(in_base(tensor)); }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    return base_->read_rows(in_base(tensor), begin, count);
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    return base_->select_rows(in_base(tensor), rows);
  }
  bool has(const TensorInfo& tensor) const override { return base_->has(in_base(tensor)); }
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    return base_->dtype(in_base(tensor));
  }
  void prefetch(const TensorInfo& tensor) const override { base_->prefetch(in_base(tensor)); }
  void release(const TensorInfo& tensor) const override { base_->release(in_base(tensor)); }

 private:
  const TensorInfo& in_base(const TensorInfo& tensor) const {
    return tensor.spec->role == Role::LmHead ? embedding_ : tensor;
  }
  std::shared_ptr<const WeightSource> base_;
  TensorInfo embedding_;
};

}  // namespace

MergedSource::MergedSource(std::shared_ptr<const WeightSource> base, LoraAdapter adapter)
    : base_(std::move(base)), adapter_(std::move(adapter)) {}

at::Tensor MergedSource::read(const TensorInfo& tensor) const {
  const at::NoGradGuard no_grad;
  const auto whole = adapter_.replaced.find(tensor.name);
  at::Tensor weight = whole == adapter_.replaced.end()
                          ? base_->read(tensor)
                          : whole->second.to(at::kCPU, base_->dtype(tensor));
  const auto sum = adapter_.added.find(tensor.name);
  if (sum != adapter_.added.end()) {
    weight = (weight.to(at::kFloat) + sum->second).to(weight.scalar_type());
  }
  const auto found = adapter_.pairs.find({tensor.layer, tensor.spec->role});
  if (found == adapter_.pairs.end()) return weight;
  at::Tensor update = update_of(weight, found->second, tensor.spec->role);
  if (const auto keep = keep_mask(weight)) {
    MergeReport& report = reports_[tensor.name];
    report = {.sparse_weights = 1, .kept_zeros = keep->numel() - keep->sum().item<int64_t>()};
    const double all = squared_norm(update);
    update.mul_(*keep);
    report.update_norm = std::sqrt(all);
    report.masked_norm = std::sqrt(std::max(0.0, all - squared_norm(update)));
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

Model untied(const Model& model) {
  if (!model.config().tie_word_embeddings) return model;
  ModelConfig config = model.config();
  config.tie_word_embeddings = false;
  Model result(std::move(config), std::make_shared<UntiedSource>(model));
  result.set_precision(model.precision());
  return result;
}

bool touches_vocabulary(const LoraAdapter& adapter, const Model& model) {
  for (const Role role : {Role::EmbedTokens, Role::LmHead}) {
    if (adapter.pairs.contains({-1, role})) return true;
    if (adapter.replaced.contains(model.tensor(role).name)) return true;
  }
  return false;
}

}  // namespace prunus
