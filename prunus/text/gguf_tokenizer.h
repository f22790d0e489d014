#pragma once
#include <memory>
#include <string>
#include <vector>

#include "prunus/io/gguf.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

/// A file of a Hugging Face directory that is made, not copied.
struct CompanionFile {
  std::string name;      ///< without a folder: "tokenizer.json"
  std::string contents;  ///< UTF-8
};

/// The tokenizer of a GGUF file as the files of a Hugging Face directory: tokenizer.json,
/// tokenizer_config.json, generation_config.json (the ids that end a text), and chat_template.jinja
/// where the file has a template. Read by load_tokenizer or by
/// AutoTokenizer of transformers they give the same ids. Formats and choices:
/// docs/formats/tokenizers.md. Untrusted input.
/// Throws NotFound where the file has no tokenizer; Corrupt for entries of the wrong type or
/// length, ids out of range, tokens given twice and invalid UTF-8; Unsupported for a kind of
/// tokenizer or a `tokenizer.ggml.pre` that Prunus does not know, with the list of those it does.
std::vector<CompanionFile> gguf_tokenizer_files(const GgufFile& file);

/// The tokenizer of the GGUF file `path`, equal to that of gguf_tokenizer_files().
/// load_tokenizer(path) comes here for every name that ends in .gguf.
/// Throws as gguf_tokenizer_files() and GgufFile::open().
std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path);

}  // namespace prunus
