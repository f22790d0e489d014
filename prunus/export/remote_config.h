#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/model/config.h"

namespace prunus {

/// Why modeling_prunus.py does not compute this model; empty: it does. What counts is what the
/// family's table says, not its name.
std::vector<std::string> remote_obstacles(const ModelConfig& config);

/// config.json of a model that comes with modeling_prunus.py: what rewrite_config() gives, with the
/// sizes of layers under `per_layer_config`, the rotary embedding as `rope_parameters`, a type for
/// each layer, and the object `prunus` (docs/formats/config.md). in_family_spelling() reads it.
Json remote_config(const Json& source, const ModelConfig& config);

/// The object `prunus`.
Json decoder_json(const ModelConfig& config);

/// Writes modeling_prunus.py and configuration_prunus.py into a directory. Throws Io.
void write_remote_files(const std::string& dir);

/// Names and contents of export/remote/*.py, in the program itself.
struct RemoteFile {
  std::string_view name;
  std::string_view text;
};
std::vector<RemoteFile> remote_files();

}  // namespace prunus
