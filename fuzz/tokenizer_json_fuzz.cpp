// tokenizer.json, without any file beside it.
#include "prunus/text/tokenizer.h"

#include "fuzz/tokenizer_use.h"

PRUNUS_FUZZ_TARGET(text) {
  prunus::fuzz::scratch_file("tokenizer.json", text);
  prunus::fuzz::use(*prunus::load_tokenizer(prunus::fuzz::scratch_dir()));
}
