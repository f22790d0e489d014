#include "prunus/calib/stream_moments.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/calib/stream.h"
#include "prunus/model/final_norm.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

class MomentsCollector : public Collector {
 public:
  explicit MomentsCollector(int64_t channels)
      : sum_(at::zeros({channels, channels}, at::kDouble)) {}

  void on_scale_forward(const LinearSite& site, const at::Tensor& normalised) override {
    if (site.role == Role::AttnNorm || site.role == Role::MlpNorm) add(normalised);
  }
  void add(const at::Tensor& normalised) {
    sum_.add_(second_moments(normalised.flatten(0, -2)).to(at::kCPU));
  }
  const at::Tensor& sum() const { return sum_; }

 private:
  at::Tensor sum_;
};

}  // namespace

at::Tensor stream_moments(const Model& model, const std::vector<TokenBatch>& batches,
                          at::Device device) {
  const at::NoGradGuard no_grad;
  const BlockStream stream(model, device);
  MomentsCollector moments(model.config().hidden_size);
  std::vector<at::Tensor> hidden = stream.embed(batches);
  stream.forward(hidden, &moments);
  const FinalNorm last(model, device);
  for (const at::Tensor& one : hidden) moments.add(last.normalised(one.to(device)));
  return moments.sum();
}

}  // namespace prunus
