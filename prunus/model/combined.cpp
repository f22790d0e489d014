#include "prunus/model/combined.h"

#include <ATen/ATen.h>

#include "prunus/model/weight_origin.h"

namespace prunus {
namespace {

class CombinedSource : public WeightSource, public TracedSource {
 public:
  CombinedSource(std::shared_ptr<const WeightSource> base,
                 std::function<WeightTerms(const TensorInfo&)> terms)
      : base_(std::move(base)), terms_(std::move(terms)) {}

  at::Tensor read(const TensorInfo& tensor) const override {
    const WeightTerms terms = terms_(tensor);
    if (terms.empty()) return base_->read(tensor);
    at::Tensor sum;
    for (const auto& [factor, one] : terms) {
      const at::Tensor part = base_->read(one).to(at::kFloat) * factor;
      sum = sum.defined() ? sum.add_(part) : part;
      base_->release(one);
    }
    return sum.to(dtype(tensor));
  }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    return changes(tensor) ? WeightSource::read_rows(tensor, begin, count)
                           : base_->read_rows(tensor, begin, count);
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    return changes(tensor) ? WeightSource::select_rows(tensor, rows)
                           : base_->select_rows(tensor, rows);
  }
  bool has(const TensorInfo& tensor) const override { return base_->has(tensor); }
  std::optional<WeightOrigin> origin(const TensorInfo& tensor) const override {
    return changes(tensor) ? std::nullopt : origin_of(*base_, tensor);
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override { return base_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { base_->prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { base_->release(tensor); }

 private:
  bool changes(const TensorInfo& tensor) const { return !terms_(tensor).empty(); }

  std::shared_ptr<const WeightSource> base_;
  std::function<WeightTerms(const TensorInfo&)> terms_;
};

}  // namespace

Model combined(const Model& model, std::function<WeightTerms(const TensorInfo&)> terms) {
  Model result(model.config(),
               std::make_shared<CombinedSource>(model.shared_source(), std::move(terms)));
  result.set_precision(model.precision());
  return result;
}

}  // namespace prunus
