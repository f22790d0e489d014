#include "prunus/export/hf_directory.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/job/model_sink.h"
#include "prunus/job/output.h"
#include "prunus/model/config_spellings.h"

namespace prunus {
namespace {

class RoundedSource : public WeightSource {
 public:
  RoundedSource(std::shared_ptr<const WeightSource> base, at::ScalarType dtype)
      : base_(std::move(base)), dtype_(dtype) {}

  at::Tensor read(const TensorInfo& tensor) const override {
    return rounded(tensor, base_->read(tensor));
  }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    return rounded(tensor, base_->read_rows(tensor, begin, count));
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    return rounded(tensor, base_->select_rows(tensor, rows));
  }
  bool has(const TensorInfo& tensor) const override { return base_->has(tensor); }
  at::ScalarType dtype(const TensorInfo&) const override { return dtype_; }
  void prefetch(const TensorInfo& tensor) const override { base_->prefetch(tensor); }
  void release(const TensorInfo& tensor) const override { base_->release(tensor); }

 private:
  at::Tensor rounded(const TensorInfo& tensor, const at::Tensor& value) const {
    const at::Tensor result = value.to(dtype_);
    const bool half = dtype_ == at::kHalf && value.scalar_type() != at::kHalf;
    PRUNUS_CHECK(!half || !at::isinf(result).any().item<bool>(), Numeric, "'", tensor.name,
                 "': the largest value, ", value.abs().max().item<double>(),
                 ", is beyond what float16 holds (65504); write bf16 instead");
    return result;
  }

  std::shared_ptr<const WeightSource> base_;
  at::ScalarType dtype_;
};

std::string dtype_name(at::ScalarType dtype) {
  if (dtype == at::kHalf) return "float16";
  return dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

// Stock loaders open a model in the dtype that its config.json names.
void name_dtype(Json& config, const Model& model) {
  const std::string name = dtype_name(model.source().dtype(model.tensor(Role::EmbedTokens)));
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (config.contains(key)) config[key] = name;
  }
}

}  // namespace

void write_directory(const Model& model, const FormJob& job,
                     const std::function<Json(const Json& source)>& config_of) {
  SafetensorsSink sink(job.source, job.out, [&](const Json& original, const Model& written) {
    Json config = config_of(job.layers.empty() ? original : with_layers(original, job.layers));
    name_dtype(config, written);
    return config;
  });
  write_model(model, sink);
}

Model in_dtype(const Model& model, at::ScalarType dtype) {
  Model rounded(model.config(), std::make_shared<RoundedSource>(model.shared_source(), dtype));
  rounded.set_precision(model.precision());
  return rounded;
}

}  // namespace prunus
