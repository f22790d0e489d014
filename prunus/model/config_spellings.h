#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// `model_type` of a model that comes with modeling_prunus.py, and the key of what that needs to
/// know beyond the sizes: an object whose "family" is the model_type of the family.
inline constexpr std::string_view kRemoteType = "prunus";
/// `model_type` of a Llama whose layers are described by `block_configs`.
inline constexpr std::string_view kBlockConfigType = "nemotron-nas";

/// A config.json in another spelling, of Prunus's own or of other software, in that of its family:
/// sizes under `per_layer_config` (kRemoteType) or `block_configs` (kBlockConfigType) become the
/// lists of parse_config(), which calls this, as does rewrite_config(). Others are given back as
/// they are. `where` names the file in messages.
/// Throws Corrupt: an entry is missing, of a wrong type or impossible; Unsupported: a part of a
/// layer is left out or replaced.
Json in_family_spelling(const Json& json, const std::string& where);

/// The config.json of which some layers are left, for rewrite_config(): every list with one entry
/// for each of its layers, whatever software reads it (layer_types, no_rope_layers, block_configs,
/// …), keeps the entries of `kept`. Lists that Prunus computes anew from the sizes
/// (mlp_only_layers, layer_intermediate_size, …) and num_hidden_layers are rewrite_config()'s.
/// kept: ascending layer numbers.
Json with_layers(const Json& config, const std::vector<int64_t>& kept);

}  // namespace prunus
