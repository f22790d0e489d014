#pragma once
#include <string>
#include <utility>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// Whether training knows adapters on weights of this role: the seven projections of a layer, and
/// those of a shared expert.
bool is_lora_role(Role role);

/// The weights that --lora-targets means, as (layer, role), in the order of layers. `text` is
/// "all" (every projection of the model that is a weight of its own), or names separated by commas:
/// of roles ("q_proj", "shared_up_proj"), or of modules as PEFT takes them, the last parts of their
/// path ("c_attn", "mlp.c_proj"; all projections in a fused one); or a regular expression of PEFT
/// for whole paths, where it holds other characters than those of names.
/// Experts get none, since one weight of the model is several tensors of the file: they are left
/// out, said in one line, where something else is meant too.
/// Throws InvalidArgument: a name that means nothing here, with those that do. Unsupported: nothing
/// is meant but experts, routers, embeddings or the head; regular expressions as PythonRegex.
std::vector<std::pair<int, Role>> lora_targets(const Model& model, const std::string& text);

}  // namespace prunus
