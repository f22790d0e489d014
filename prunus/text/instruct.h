#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prunus {

/// A request and its answer as the model sees them: prompt, then response, with nothing between.
struct InstructText {
  std::string prompt;
  std::string response;
};

/// Reads instruction records: a JSON array of objects (any file whose first character is '['), or
/// one object a line, blank lines skipped. A record has instruction, output and perhaps input (put
/// into the Alpaca template, with or without its input part; an empty or null input counts as
/// none), or prompt and response (taken as they are). Other fields are passed over.
/// Throws NotFound; Corrupt naming file and line or record (from 1) where a field is missing or not
/// a string, for broken JSON and invalid UTF-8, and where there is no record.
/// Source of the template: Taori et al., Stanford Alpaca, 2023.
std::vector<InstructText> read_instructions(const std::string& path);

/// Whether a file is_jsonl() and its first record looks like an instruction (has instruction or
/// prompt) and not like a document with "text". Throws NotFound; Corrupt where the first record
/// cannot be read.
bool is_instruct_file(const std::string& path);

}  // namespace prunus
