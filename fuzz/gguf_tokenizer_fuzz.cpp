// The tokenizer of a GGUF file.
#include <span>

#include "prunus/io/gguf_header.h"
#include "prunus/text/gguf_tokenizer_json.h"
#include "prunus/text/gguf_vocabulary.h"

#include "fuzz/target.h"
#include "fuzz/tokenizer_use.h"

PRUNUS_FUZZ_TARGET(input) {
  const auto header = prunus::parse_gguf_header(std::as_bytes(std::span(input)), "file");
  const auto vocabulary = prunus::text::read_gguf_vocabulary(header.metadata, "file");
  prunus::fuzz::use(*prunus::text::make_gguf_tokenizer(vocabulary, "file"));
}
