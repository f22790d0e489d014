#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// A module of a model as PEFT finds it by name: whatever has its ".weight" in one tensor of the
/// checkpoint, with the model's weights that lie in it.
struct PeftModule {
  enum class Kind {
    Matrix,     ///< a projection, a router
    Embedding,  ///< of tokens or positions
    Head,
    Vector,  ///< a norm
    Expert   ///< of one expert; its weight is a share of parts[0]
  };
  std::string path;                      ///< "model.layers.0.self_attn.q_proj"
  std::vector<const TensorInfo*> parts;  ///< in the file's order; several where it is fused
  Kind kind = Kind::Matrix;

  int64_t rows() const;  ///< of [out, in], all parts together
  int64_t columns() const { return parts[0]->shape.back(); }
  bool transposed() const { return parts[0]->stored.transposed; }
};

/// Every module of a model, in the order of its tensors. `model` must outlive the result.
std::vector<PeftModule> peft_modules(const Model& model);

/// PEFT's rule for names in target_modules: the whole path or its last parts.
bool ends_in(std::string_view path, std::string_view name);

/// The shortest last parts of `path` whose owners among `paths` all pass `belongs`; the whole path
/// where they would begin with a layer's number.
std::string shortest_name(const std::string& path, const std::vector<std::string>& paths,
                          const std::function<bool(const std::string&)>& belongs);

}  // namespace prunus
