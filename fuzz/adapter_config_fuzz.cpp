// adapter_config.json, beside the factors of tests/adapter/golden and for their model.
#include "prunus/adapter/peft.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(text) {
  using namespace prunus;
  static const Model model = open_model(PRUNUS_SOURCE_DIR "/tests/model/golden/llama_gqa");
  static const bool placed = [] {
    std::filesystem::copy_file(PRUNUS_SOURCE_DIR
                               "/tests/adapter/golden/llama_gqa/trained/adapter_model.safetensors",
                               fuzz::scratch_dir() + "/adapter_model.safetensors");
    return true;
  }();
  fuzz::require(placed, "the factors are there");
  fuzz::scratch_file("adapter_config.json", text);
  const LoraAdapter adapter = read_peft(fuzz::scratch_dir(), model);
  fuzz::require(!adapter.pairs.empty(), "an adapter has factors");
}
