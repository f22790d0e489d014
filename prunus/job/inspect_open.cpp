// Where an inspected model's shapes and dtypes come from.
#include <algorithm>
#include <filesystem>
#include <set>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/io/hf_directory.h"
#include "prunus/io/safetensors_dtype.h"
#include "prunus/job/inspect.h"
#include "prunus/model/cost.h"
#include "prunus/model/gguf_source.h"
#include "prunus/model/text_part.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 26;

/// Shapes without weights.
class ShapesOnly : public WeightSource {
 public:
  explicit ShapesOnly(at::ScalarType dtype) : dtype_(dtype) {}
  at::Tensor read(const TensorInfo& tensor) const override {
    TORCH_INTERNAL_ASSERT(false, "inspect reads no weights, but asked for ", tensor.name);
  }
  at::ScalarType dtype(const TensorInfo&) const override { return dtype_; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}

 private:
  at::ScalarType dtype_;
};

std::string dtype_name(at::ScalarType type) {
  for (const SafetensorsDtype& one : safetensors_dtypes()) {
    if (one.type == type) return std::string(one.name);
  }
  return c10::toString(type);
}

// v5 writes dtype, v4 torch_dtype; Undefined where there is none that weights can have.
at::ScalarType config_dtype(const Json& config) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_string()) continue;
    const auto name = found->get<std::string>();
    if (name.ends_with("bfloat16")) return at::kBFloat16;
    if (name.ends_with("float16")) return at::kHalf;
    if (name.ends_with("float32")) return at::kFloat;
  }
  return at::ScalarType::Undefined;
}

InspectedModel open_config(const Json& json, const std::string& file, const std::string& path) {
  ModelConfig config = parse_config(json, file);
  count_parameters(config);  // refuses sizes that would overflow what follows
  const std::optional<TextPart> text = text_part(json, file);
  const at::ScalarType said = config_dtype(text ? text->config() : json);
  const bool known = said != at::ScalarType::Undefined;
  auto source = std::make_shared<ShapesOnly>(known ? said : at::kBFloat16);
  return {Model(std::move(config), source), path, known ? dtype_name(said) : "16 bit",
          known ? "config.json" : "assumed"};
}

// As the files call them; of a GGUF file its own types.
std::set<std::string> dtype_names(const Model& model) {
  std::set<std::string> names;
  const auto* gguf = dynamic_cast<const GgufSource*>(&model.source());
  for (const TensorInfo& tensor : model.tensors()) {
    names.insert(gguf != nullptr ? std::string(gguf->place(tensor).tensor->type->name)
                                 : dtype_name(model.source().dtype(tensor)));
  }
  return names;
}

InspectedModel open_weights(const std::string& dir) {
  Model model = open_model(dir);
  std::string list;
  for (const std::string& name : dtype_names(model)) list += (list.empty() ? "" : ", ") + name;
  return {std::move(model), dir, list, is_gguf_path(dir) ? "gguf" : "weights"};
}

}  // namespace

InspectedModel open_for_inspection(const std::string& path) {
  std::error_code ignored;
  if (is_gguf_path(path)) return open_weights(path);
  if (fs::is_regular_file(path, ignored)) {
    return open_config(read_json(path, kMaxConfigBytes), path, path);
  }
  const auto files = regular_files(path);
  const bool weights = std::any_of(files.begin(), files.end(), [](const std::string& name) {
    return name.ends_with(".safetensors");
  });
  if (weights) return open_weights(path);
  return open_config(read_config(path), (fs::path(path) / "config.json").string(), path);
}

}  // namespace prunus
