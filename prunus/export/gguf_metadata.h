#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/export/gguf_choice.h"
#include "prunus/io/gguf_entry.h"

namespace prunus {

/// Metadata of a GGUF file to be written: what it is, then the model (gguf_settings()), then the
/// tokenizer (gguf_tokenizer_entries()). `source`: a Hugging Face directory, or a GGUF file, whose
/// entries are carried over in their order but for those that describe the model or its parts.
/// `tokens`: of a GGUF file those that are left, FormJob::tokens. `file_type`: general.file_type. A
/// directory without a tokenizer gives a file without one (tokenizer.ggml.model "none"). Throws
/// Unsupported where llama.cpp has no such tokenizer; as gguf_settings().
std::vector<GgufEntry> gguf_metadata(const GgufChoice& choice, const std::string& source,
                                     uint32_t file_type, const std::vector<int64_t>& tokens = {});

}  // namespace prunus
