#pragma once
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "prunus/text/gguf_vocabulary.h"
#include "prunus/text/special_ids.h"
#include "prunus/text/tokenizer.h"

namespace prunus::text {

/// The root of the tokenizer.json that stands for a GGUF file's tokenizer:
/// - SentencePiece: BPE with byte fallback. The merges are every split of a piece into two others,
///   the best score first; of equals the longest left part first, then the longest right part, as
///   transformers 5.24 orders them.
/// - ByteLevel: BPE with the file's merges and the words of its `pre`.
/// - Unigram: as sentencepiece's converter in transformers writes it.
/// Control and user-defined tokens are added tokens, looked for in the text as it stands; the
/// tokens that only fill up the vocabulary at its end ("[PAD151665]") are left out.
/// Throws as gguf_tokenizer_files().
nlohmann::json gguf_tokenizer_json(const GgufVocabulary& vocabulary);

/// tokenizer_config.json beside it, for the generic tokenizer class.
nlohmann::json gguf_tokenizer_config(const GgufVocabulary& vocabulary);

/// The tokenizer that these two make; `where` names the file.
std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufVocabulary& vocabulary,
                                               const std::string& where);

/// What stands beside the tokenizer of the GGUF file `path`: its tokenizer_config.json, with the
/// chat templates. Throws as gguf_tokenizer_files() and GgufFile::open().
SidecarFiles gguf_sidecar_files(const std::string& path);

}  // namespace prunus::text
