// model.safetensors.index.json.
#include "prunus/io/safetensors_index.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(text) {
  const std::string path = prunus::fuzz::scratch_file("model.safetensors.index.json", text);
  for (const auto& [tensor, file] : prunus::read_safetensors_index(path)) {
    prunus::fuzz::require(file.find('/') == std::string::npos && file != ".." && !file.empty(),
                          "shards stand in the model's own directory");
  }
}
