#pragma once
#include <vector>

#include "prunus/text/tokenizer.h"
#include "prunus/text/utf8.h"

#include "fuzz/target.h"

namespace prunus::fuzz {

/// Text through a tokenizer and back: ids lie in the vocabulary, and what comes back is UTF-8.
inline void use(const Tokenizer& tokenizer) {
  static constexpr std::string_view kText = "Once  upon 12 \t<s>\n</s>caf\u00e9, it's \U0001F98A!";
  const std::vector<int64_t> ids = tokenizer.encode(kText);
  for (const int64_t id : ids) {
    require(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary");
  }
  for (const bool skip : {false, true}) {
    require(!text::first_invalid_utf8(tokenizer.decode(ids, skip)), "decoded text is UTF-8");
  }
  std::vector<int64_t> others = {-1, tokenizer.vocab_size(), INT64_MAX};
  for (int64_t id = 0; id < std::min<int64_t>(64, tokenizer.vocab_size()); ++id) {
    others.push_back(id);
  }
  require(!text::first_invalid_utf8(tokenizer.decode(others, false)), "decoded text is UTF-8");
  tokenizer.document_start();
}

}  // namespace prunus::fuzz
