#pragma once
#include <memory>
#include <string>

#include "prunus/text/tokenizer.h"

namespace prunus::text {

/// tokenizer.model in `model_dir`: a sentencepiece model of any type, read and run by the
/// sentencepiece library itself. Control symbols BOS, EOS and UNK and the tokens of
/// tokenizer_config.json and added_tokens.json are recognised in the text, as the stock
/// LlamaTokenizer (legacy) does; what lies between goes to sentencepiece as it is.
/// Where tokenizer_class is ChatGLMTokenizer, the nine tokens of ChatGLM 3 follow the pieces, and
/// prefix_ids() are [gMASK] and sop.
/// Throws Unsupported where the file is a tiktoken rank file, Corrupt where it is neither.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& model_dir);

}  // namespace prunus::text
