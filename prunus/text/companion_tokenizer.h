#pragma once
#include <string>

namespace prunus {

/// Makes AutoTokenizer of stock transformers give the ids in `out_dir` that it gives in
/// `source_dir`, whose tokenizer files out_dir has copies of: it picks the class by model_type as
/// well, and the config.json of out_dir may have another (a llama written as a mistral). Where it
/// would pick another class, tokenizer_class of out_dir's tokenizer_config.json is set to that of
/// the source, and where the new model_type does not let that class through, tokenizer.json is
/// written as the class makes it, for the generic class to read. Other files stay as they are.
/// Without a tokenizer.json (sentencepiece alone) only tokenizer_class can be set.
/// Throws as load_tokenizer; Io.
void keep_stock_tokenizer(const std::string& source_dir, const std::string& out_dir);

}  // namespace prunus
