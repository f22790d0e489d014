#pragma once
#include <string>
#include <vector>

#include "prunus/text/text_file.h"

namespace prunus {

/// A request and its answer as the model sees them: prompt, then response, with nothing between.
struct InstructText {
  std::string prompt;
  std::string response;
};

/// The instruction records of a JSON file. A record has instruction, output and perhaps input (put
/// into the Alpaca template, with or without its input part; an empty or null input counts as
/// none), or prompt and response or completion (taken as they are). Other fields are passed over.
/// Throws Corrupt naming file and line or record (from 1) where a field is missing or not a string,
/// for broken JSON, for plain text, and where there is no record.
/// Source of the template: Taori et al., Stanford Alpaca, 2023.
std::vector<InstructText> instructions_of(const TextFile& file);

/// Whether a record looks like an instruction (has instruction or prompt) and not like a document
/// with "text".
bool is_instruct_record(const Json& record);

}  // namespace prunus
