#include "prunus/export/gguf_file.h"

#include <algorithm>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/base/progress.h"
#include "prunus/export/gguf_copy.h"
#include "prunus/export/gguf_layout.h"
#include "prunus/export/gguf_metadata.h"
#include "prunus/io/gguf_quantize.h"
#include "prunus/io/gguf_writer.h"

namespace prunus {
namespace {

// A choice of --quant: the types of matrices and of the head, and general.file_type.
struct Quant {
  std::string_view name;
  std::string_view type;
  std::string_view head;
  uint32_t file_type;  // llama.cpp, llama.h, enum llama_ftype
};

constexpr Quant kQuants[] = {
    {"f32", "F32", "F32", 0},     {"bf16", "BF16", "BF16", 32}, {"f16", "F16", "F16", 1},
    {"q8_0", "Q8_0", "Q8_0", 7},  {"q6_k", "Q6_K", "Q6_K", 18}, {"q5_k", "Q5_K", "Q6_K", 16},
    {"q4_k", "Q4_K", "Q6_K", 14}, {"q4_0", "Q4_0", "Q6_K", 2},
};

const GgufBlockType& type_named(std::string_view name) { return *find_gguf_block_type(name); }

const Quant* find_quant(const std::string& name) {
  if (name.empty()) return nullptr;
  for (const Quant& quant : kQuants) {
    if (quant.name == name) return &quant;
  }
  PRUNUS_FAIL(InvalidArgument, "--quant ", unknown_word(name, gguf_quant_names()));
}

std::string_view type_of(at::ScalarType dtype) {
  return dtype == at::kHalf ? "F16" : dtype == at::kBFloat16 ? "BF16" : "F32";
}

// One file: types decided, then tensors one by one.
class File {
 public:
  File(const Model& model, const GgufChoice& choice, const FormJob& job)
      : model_(model),
        quant_(find_quant(job.quant)),
        outputs_(gguf_outputs(model, choice.config, *choice.architecture)) {
    std::vector<GgufTensorPlan> plan;
    for (const GgufOutput& output : outputs_) {
      const GgufBlockType& type = decide(output);
      plan.push_back({output.name, &type, output.shape});
      ++report_.types[std::string(type.name)];
    }
    const std::vector<GgufEntry> metadata =
        gguf_metadata(choice, job.source, file_type(plan), job.tokens);
    writer_.emplace(job.out, metadata, std::move(plan));
  }

  GgufReport write() {
    Progress progress("write: tensors", static_cast<int64_t>(outputs_.size()));
    for (size_t i = 0; i < outputs_.size(); ++i) {
      writer_->write(outputs_[i].name, blocks(outputs_[i], writer_->plan()[i]));
      progress.step();
    }
    writer_->finish();
    return std::move(report_);
  }

 private:
  const GgufBlockType& wanted(const GgufOutput& output) const {
    if (output.full_precision) return type_named("F32");
    if (quant_ != nullptr) return type_named(output.is_head ? quant_->head : quant_->type);
    const GgufBlockType* source = source_type(output, model_);
    return source != nullptr ? *source
                             : type_named(type_of(model_.source().dtype(*output.parts[0].tensor)));
  }

  const GgufBlockType& decide(const GgufOutput& output) {
    const GgufBlockType& asked = wanted(output);
    const GgufBlockType& type = fitting_type(asked, output.shape.back());
    if (&type != &asked) {
      report_.fallbacks.push_back({output.name, std::string(asked.name), std::string(type.name)});
    }
    return type;
  }

  // That of the type that most values have, as llama.cpp guesses it where none is given.
  uint32_t file_type(const std::vector<GgufTensorPlan>& plan) const {
    if (quant_ != nullptr) return quant_->file_type;
    std::map<std::string_view, int64_t> values;
    std::string_view most = "F32";
    for (const GgufTensorPlan& tensor : plan) {
      int64_t& sum = values[tensor.type->name];
      sum += tensor.rows() * tensor.columns();
      if (sum > values[most]) most = tensor.type->name;
    }
    constexpr std::pair<std::string_view, uint32_t> kOthers[] = {
        {"Q4_1", 3}, {"Q5_0", 8}, {"Q5_1", 9}, {"Q2_K", 10}, {"Q3_K", 12}};
    for (const auto& [name, number] : kOthers) {
      if (name == most) return number;
    }
    for (const Quant& quant : kQuants) {
      if (quant.type == most) return quant.file_type;
    }
    return 0;
  }

  bool holds_exactly(const GgufBlockType& type, const GgufOutput& output) const {
    if (type.name == "F32") return true;
    return type.elements == 1 &&
           std::all_of(output.parts.begin(), output.parts.end(), [&](const GgufOutput::Part& part) {
             return type_of(model_.source().dtype(*part.tensor)) == type.name;
           });
  }

  std::vector<std::byte> blocks(const GgufOutput& output, const GgufTensorPlan& plan) {
    const GgufBlockType& type = *plan.type;
    if (auto bytes = copied_blocks(output, model_, type)) {
      report_.copied.push_back(output.name);
      return std::move(*bytes);
    }
    const GgufBlockType* source = source_type(output, model_);
    if (source != nullptr && source->elements > 1) report_.requantised.push_back(output.name);
    report_.exact = report_.exact && holds_exactly(type, output);
    const at::Tensor value = gguf_value(output, model_);
    TORCH_INTERNAL_ASSERT(value.sizes() == output.shape);
    std::vector<std::byte> bytes(plan.bytes());
    try {
      quantize_gguf_rows(type, value.const_data_ptr<float>(), plan.rows(), plan.columns(),
                         bytes.data());
    } catch (const Error& error) {
      throw Error(error.kind(), output.name + ": " + error.what());
    }
    return bytes;
  }

  const Model& model_;
  const Quant* quant_;
  std::vector<GgufOutput> outputs_;
  GgufReport report_;
  std::optional<GgufWriter> writer_;
};

}  // namespace

std::vector<std::string> gguf_quant_names() {
  std::vector<std::string> names;
  for (const Quant& quant : kQuants) names.emplace_back(quant.name);
  return names;
}

void check_gguf_quant(const std::string& name) { find_quant(name); }

GgufReport write_gguf(const Model& model, const GgufChoice& choice, const FormJob& job) {
  TORCH_INTERNAL_ASSERT(choice.legal() && choice.architecture != nullptr);
  return File(model, choice, job).write();
}

Json to_json(const GgufReport& report) {
  Json fallbacks = Json::array();
  for (const auto& one : report.fallbacks) {
    fallbacks.push_back({{"tensor", one.tensor}, {"wanted", one.wanted}, {"got", one.got}});
  }
  return {{"types", report.types},
          {"exact", report.exact},
          {"blocks_copied", report.copied},
          {"requantised", report.requantised},
          {"fallbacks", std::move(fallbacks)}};
}

std::vector<std::string> remarks(const GgufReport& report) {
  std::vector<std::string> lines;
  if (!report.copied.empty() || !report.requantised.empty()) {
    lines.push_back(
        c10::str(report.copied.size(), " quantised tensors copied bit for bit, ",
                 report.requantised.size(), " quantised again",
                 report.requantised.empty() ? "" : ", the first " + report.requantised[0]));
  }
  if (!report.fallbacks.empty()) {
    const auto& first = report.fallbacks[0];
    lines.push_back(c10::str(report.fallbacks.size(),
                             " tensors have rows that are no whole blocks of the type asked for, "
                             "such as ",
                             first.tensor, ": ", first.got, " instead of ", first.wanted));
  }
  return lines;
}

}  // namespace prunus
