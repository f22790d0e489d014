#include "prunus/export/bitmask_file.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/job/output.h"
#include "prunus/model/quantization.h"
#include "prunus/model/zero_mask.h"

namespace prunus {
namespace {

// As other software calls them.
Json sparsity_json(const BitmaskReport& report) {
  const double zeros = 1 - static_cast<double>(report.values) / static_cast<double>(report.weights);
  return {{"format", kSparseBitmask},
          {"global_sparsity", zeros},
          {"sparsity_structure", "unstructured"},
          {"targets", {"Linear"}},
          {"ignore", {"lm_head"}}};
}

Json quantization_json(const BitmaskReport& report) {
  Json json = {{"quant_method", "compressed-tensors"},
               {"format", report.exact ? "dense" : "int-quantized"},
               {"sparsity_config", sparsity_json(report)}};
  if (!report.exact) {
    json["config_groups"] = {
        {"group_0",
         {{"targets", {"Linear"}},
          {"weights",
           {{"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", "channel"}}}}}};
  }
  return json;
}

// A matrix of a layer, as the file has it.
bool is_layer_matrix(const FileTensor& tensor) {
  return tensor.parts[0]->layer >= 0 && tensor.shape.size() == 2;
}

class BitmaskSink : public ModelSink {
 public:
  BitmaskSink(const FormJob& job) : job_(job), integers_(job.values == "int8") {
    report_.exact = !integers_;
  }

  std::vector<const FileTensor*> begin(const Model& model,
                                       std::span<const FileTensor> tensors) override {
    std::vector<TensorPlan> plans;
    Progress progress("bitmask: count", std::ssize(tensors));
    for (const FileTensor& tensor : tensors) {
      if (!is_layer_matrix(tensor) || !plan_matrix(model, tensor, plans)) {
        add(plans, tensor, "", model.source().dtype(*tensor.parts[0]), tensor.shape);
      }
      progress.step();
    }
    PRUNUS_CHECK(report_.matrices > 0, InvalidArgument, job_.source,
                 ": no matrix of its layers would become smaller by --format bitmask: it takes ",
                 100 * kSparseShare,
                 " % of zeros, and rows of more than a few numbers; make zeros with prunus prune "
                 "--sparsity or --pattern, or take --format hf");
    writer_.emplace(job_.out, std::move(plans));
    std::vector<const FileTensor*> order;
    for (const TensorPlan& plan : writer_->order()) order.push_back(places_.at(plan.name).tensor);
    return order;
  }

  void tensor(const FileTensor& tensor, const at::Tensor& value) override {
    const std::string& name = writer_->order()[next_++].name;
    const std::string& ending = places_.at(name).ending;
    writer_->write(name, ending.empty() ? value : part(tensor, ending, value));
  }

  void finish(const Model& model) override {
    writer_->finish();
    write_side_files(job_.source, job_.out, model, [&](const Json& original, const Model& written) {
      Json config = rewrite_config(original, written.config());
      config["quantization_config"] = quantization_json(report_);
      return config;
    });
  }

  const BitmaskReport& report() const { return report_; }

 private:
  struct Place {
    const FileTensor* tensor;
    std::string ending;
  };
  // What is kept of a matrix from when it was counted.
  struct Counted {
    at::Tensor row_offsets;
    at::Tensor scales;
  };

  void add(std::vector<TensorPlan>& plans, const FileTensor& tensor, const std::string& ending,
           at::ScalarType dtype, std::vector<int64_t> shape) {
    const std::string name = tensor.name + ending;
    report_.bytes += c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
    if (ending.empty()) {
      report_.dense_bytes +=
          c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
    }
    plans.push_back({name, dtype, std::move(shape)});
    places_[name] = {&tensor, ending};
  }

  BitmaskMatrix compressed(const at::Tensor& value) const {
    return integers_ ? bitmask_of_rounded(value) : bitmask_of(value);
  }

  // False where the matrix stays as it is.
  bool plan_matrix(const Model& model, const FileTensor& tensor, std::vector<TensorPlan>& plans) {
    const at::Tensor value = file_value(tensor, model.source());
    const bool sparse = keep_mask(value).has_value();
    const auto dense_bytes = static_cast<int64_t>(value.nbytes());
    if (!sparse) return false;
    PRUNUS_CHECK(integers_ || value.scalar_type() == at::kBFloat16, Unsupported, job_.source,
                 ": tensor '", tensor.name, "' is ", value.scalar_type(),
                 "; --format bitmask stores numbers in BF16 (add --dtype bf16) or in 8 bits "
                 "(--values int8)");
    const BitmaskMatrix matrix = compressed(value);
    for (const TensorInfo* part : tensor.parts) model.source().release(*part);
    if (matrix.bytes() >= dense_bytes) return false;
    const int64_t rows = matrix.rows();
    add(plans, tensor, kShapeEnding, at::kLong, {2});
    add(plans, tensor, kValuesEnding, matrix.values.scalar_type(), {matrix.values.numel()});
    add(plans, tensor, kBitmaskEnding, at::kByte, matrix.mask.sizes().vec());
    add(plans, tensor, kOffsetsEnding, at::kLong, {rows});
    if (integers_) add(plans, tensor, kBitmaskScaleEnding, at::kFloat, {rows, 1});
    counted_[&tensor] = {matrix.row_offsets, matrix.scales};
    ++report_.matrices;
    report_.weights += value.numel();
    report_.values += matrix.values.numel();
    report_.dense_bytes += dense_bytes;
    return true;
  }

  at::Tensor part(const FileTensor& tensor, const std::string& ending, const at::Tensor& value) {
    const Counted& counted = counted_.at(&tensor);
    if (ending == kShapeEnding) return at::tensor(tensor.shape, at::kLong);
    if (ending == kOffsetsEnding) return counted.row_offsets;
    if (ending == kBitmaskScaleEnding) return counted.scales.unsqueeze(1);
    const BitmaskMatrix matrix = compressed(value);
    return ending == kValuesEnding ? matrix.values : matrix.mask;
  }

  const FormJob& job_;
  bool integers_;
  BitmaskReport report_;
  std::map<std::string, Place> places_;  // by the name in the file
  std::map<const FileTensor*, Counted> counted_;
  std::optional<CheckpointWriter> writer_;
  size_t next_ = 0;
};

}  // namespace

Json to_json(const BitmaskReport& report) {
  return {{"exact", report.exact},     {"matrices", report.matrices},
          {"weights", report.weights}, {"values", report.values},
          {"bytes", report.bytes},     {"dense_bytes", report.dense_bytes}};
}

BitmaskReport write_bitmask(const Model& model, const FormJob& job) {
  BitmaskSink sink(job);
  write_model(model, sink);
  return sink.report();
}

}  // namespace prunus
