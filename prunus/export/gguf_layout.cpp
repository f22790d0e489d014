#include "prunus/export/gguf_layout.h"

#include <algorithm>
#include <set>

#include <ATen/ATen.h>

#include "prunus/model/gguf_config.h"

namespace prunus {
namespace {

bool wants_full_precision(const GgufOutput& output) {
  if (output.shape.size() == 1) return true;
  return std::any_of(output.parts.begin(), output.parts.end(), [](const GgufOutput::Part& part) {
    return part.name->role == Role::Router || part.name->role == Role::EmbedPositions;
  });
}

// What `form` makes of a weight of this shape.
std::vector<int64_t> form_shape(const GgufOutput::Part& part) {
  const at::Tensor shape = at::empty(part.tensor->shape, at::TensorOptions(at::kMeta));
  return to_gguf_form(shape, part.name->form, *part.tensor->spec, 2, part.tensor->stored.experts)
      .sizes()
      .vec();
}

class Outputs {
 public:
  Outputs(const Model& model, const ModelConfig& config, const GgufArchitecture& architecture)
      : model_(model), config_(config), architecture_(architecture) {}

  std::vector<GgufOutput> all() {
    for (const GgufRopeTensor& rope : gguf_rope_tensors(config_, architecture_)) {
      outputs_.push_back({.name = rope.name,
                          .shape = rope.value.sizes().vec(),
                          .value = rope.value,
                          .full_precision = true});
    }
    for (const TensorInfo& tensor : model_.tensors()) {
      const GgufName* name = gguf_name(architecture_, tensor.spec->role);
      TORCH_INTERNAL_ASSERT(name != nullptr);
      if (written_.insert(gguf_tensor_name(*name, tensor.layer)).second) add(*name, tensor.layer);
    }
    if (config_.tie_word_embeddings) {
      add_tied_head();
    }
    return std::move(outputs_);
  }

 private:
  // All parts of the tensor that the model has.
  void add(const GgufName& name, int layer) {
    GgufOutput output{.name = gguf_tensor_name(name, layer), .shape = {}};
    for (const GgufName* row : gguf_parts(architecture_, name)) {
      const TensorInfo* tensor = find(row->role, layer);
      if (tensor == nullptr) continue;
      output.parts.push_back({tensor, row});
      const std::vector<int64_t> shape = form_shape(output.parts.back());
      if (output.shape.empty()) {
        output.shape = shape;
      } else {
        output.shape[0] += shape[0];
      }
    }
    output.full_precision = wants_full_precision(output);
    output.is_head = name.role == Role::LmHead;
    outputs_.push_back(std::move(output));
  }

  // The embedding is the head: once more, where the architecture asks for a head of its own.
  void add_tied_head() {
    const auto embedding =
        std::find_if(outputs_.begin(), outputs_.end(), [](const GgufOutput& output) {
          return !output.parts.empty() && output.parts[0].name->role == Role::EmbedTokens;
        });
    embedding->is_head = true;
    if (!architecture_.limits.needs_output) return;
    GgufOutput head = *embedding;
    head.name = gguf_tensor_name(*gguf_name(architecture_, Role::LmHead), -1);
    outputs_.push_back(std::move(head));
  }

  const TensorInfo* find(Role role, int layer) const {
    for (const TensorInfo& tensor : model_.tensors()) {
      if (tensor.layer == layer && tensor.spec->role == role) return &tensor;
    }
    return nullptr;
  }

  const Model& model_;
  const ModelConfig& config_;
  const GgufArchitecture& architecture_;
  std::set<std::string> written_;
  std::vector<GgufOutput> outputs_;
};

}  // namespace

std::vector<GgufOutput> gguf_outputs(const Model& model, const ModelConfig& config,
                                     const GgufArchitecture& architecture) {
  return Outputs(model, config, architecture).all();
}

at::Tensor gguf_value(const GgufOutput& output, const Model& model) {
  if (output.parts.empty()) return output.value.contiguous();
  std::vector<at::Tensor> parts;
  for (const GgufOutput::Part& part : output.parts) {
    const at::Tensor weight = model.source().read(*part.tensor);
    check_finite(weight, part.tensor->name);
    parts.push_back(to_gguf_form(weight, part.name->form, *part.tensor->spec,
                                 model.config().head_dim, part.tensor->stored.experts)
                        .to(at::kFloat));
    model.source().release(*part.tensor);
  }
  return (parts.size() == 1 ? parts[0] : at::cat(parts)).contiguous();
}

}  // namespace prunus
