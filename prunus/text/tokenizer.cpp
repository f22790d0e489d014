#include "prunus/text/tokenizer.h"

#include <filesystem>

#include "prunus/base/error.h"
#include "prunus/text/gguf_tokenizer.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/sentencepiece_tokenizer.h"

namespace prunus {
namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& model_dir) {
  if (is_gguf_path(model_dir)) return load_gguf_tokenizer(model_dir);
  const fs::path dir(model_dir);
  if (fs::exists(dir / "tokenizer.json")) return text::load_tokenizer_json(model_dir);
  if (fs::exists(dir / "tokenizer.model")) return text::load_sentencepiece(model_dir);
  if (fs::exists(dir / "vocab.json") && fs::exists(dir / "merges.txt")) {
    return text::load_vocab_and_merges(model_dir);
  }
  PRUNUS_FAIL(NotFound, model_dir,
              ": no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json with "
              "merges.txt; copy them from the model's original directory");
}

}  // namespace prunus
