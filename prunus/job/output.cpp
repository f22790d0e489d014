#include "prunus/job/output.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/calib/stream.h"
#include "prunus/model/layout.h"
#include "prunus/model/lm_head.h"

namespace prunus {
namespace {

at::Tensor logits_of(const Model& model, const at::Tensor& ids, at::Device device) {
  const at::NoGradGuard no_grad;
  const BlockStream stream(model, device);
  std::vector<at::Tensor> hidden = stream.embed({{ids}});
  stream.forward(hidden);
  return LmHead(model, device).logits(hidden[0].to(device).flatten(0, 1)).cpu();
}

// Keeps the experts of a layer while each is written on its own: reading them joins all of them.
class LayerOfExperts : public WeightSource {
 public:
  explicit LayerOfExperts(const WeightSource& source) : source_(source) {}
  at::Tensor read(const TensorInfo& tensor) const override {
    if (tensor.stored.experts == 0) return source_.read(tensor);
    if (tensor.layer != layer_) kept_.clear();
    layer_ = tensor.layer;
    at::Tensor& kept = kept_[tensor.name];
    if (!kept.defined()) kept = source_.read(tensor);
    return kept;
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override { return source_.dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { source_.prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { source_.release(tensor); }

 private:
  const WeightSource& source_;
  mutable int layer_ = -1;
  mutable std::map<std::string, at::Tensor> kept_;
};

}  // namespace

void write_model(const Model& model, ModelSink& sink) {
  const std::vector<FileTensor> tensors = file_tensors(model.tensors());
  const LayerOfExperts source(model.source());
  const std::vector<const FileTensor*> order = sink.begin(model, tensors);
  Progress progress("write: tensors", static_cast<int64_t>(order.size()));
  for (const FileTensor* tensor : order) {
    const at::Tensor weight = file_value(*tensor, source);
    check_finite(weight, tensor->name);
    sink.tensor(*tensor, weight);
    for (const TensorInfo* part : tensor->parts) source.release(*part);
    progress.step();
  }
  sink.finish(model);
}

void write_model(const Model& model, const std::string& source_dir, const std::string& dir) {
  SafetensorsSink sink(source_dir, dir);
  write_model(model, sink);
}

OutputCheck check_output(const Model& model, const std::string& dir, const at::Tensor& ids,
                         at::Device device, double tolerance) {
  const Model written = open_model(dir);
  const at::Tensor meant = logits_of(model, ids, device);
  const at::Tensor got = logits_of(written, ids, device);
  OutputCheck check;
  check.tokens = ids.numel();
  check.max_abs_logit = meant.abs().max().item<double>();
  PRUNUS_CHECK(std::isfinite(check.max_abs_logit), Numeric,
               "the pruned model's logits are not finite on the check's ", check.tokens, " tokens");
  PRUNUS_CHECK(meant.sizes() == got.sizes(), OutputCheck, dir, ": logits of shape ", got.sizes(),
               " after reopening, ", meant.sizes(), " before");
  check.max_abs_diff = (meant - got).abs().max().item<double>();
  PRUNUS_CHECK(check.max_abs_diff <= tolerance * check.max_abs_logit, OutputCheck, dir,
               ": logits of the reopened model differ by ", check.max_abs_diff, " (largest logit ",
               check.max_abs_logit, "); the files are not what was meant");
  return check;
}

Json to_json(const OutputCheck& check) {
  return {{"tokens", check.tokens},
          {"max_abs_diff", check.max_abs_diff},
          {"max_abs_logit", check.max_abs_logit}};
}

at::Tensor probe_ids(const ModelConfig& config) {
  PythonRandom random(0);
  const int64_t seq = std::min<int64_t>(16, config.max_position_embeddings);
  at::Tensor ids = at::empty({2, seq}, at::kLong);
  const auto vocab = static_cast<uint64_t>(config.vocab_size);
  for (int64_t i = 0; i < ids.numel(); ++i) {
    ids.flatten()[i] = static_cast<int64_t>(random.below(vocab));
  }
  return ids;
}

}  // namespace prunus
