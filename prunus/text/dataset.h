#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/text/text_file.h"

namespace prunus {

class Tokenizer;

/// The documents of a file, in order: the "text" of each record of a JSON file; any other file is
/// one document.
/// Throws Corrupt where a record is not an object with a string `text` (line or record number is
/// named), and where there is no text.
std::vector<std::string> documents_of(const TextFile& file);

/// documents_of a file that is read for it. Throws as read_text_file, too.
std::vector<std::string> read_documents(const std::string& path);

/// How calibration windows are drawn.
struct WindowOptions {
  int64_t samples = 10;  ///< windows, at least 1
  int64_t tokens = 64;   ///< ids a window, at least 2
  uint64_t seed = 0;     ///< other seeds draw other windows; the same seed the same
  /// So many are enough where the text has no more; 0: all of `samples` are needed.
  int64_t fewest = 0;
};

/// Draws calibration windows of exactly `tokens` consecutive ids of one document each. A document
/// begins with BOS, where the tokenizer has one, so a window holds BOS only if it stands at the
/// beginning, as in LLM-Pruner; what else was tried is in docs/formats/calibration.md. No id of the
/// text is used twice.
/// Documents are the records of a JSON file, or pieces of a plain file of at most 64 KiB (or 16
/// bytes a token of the window, where that is more), cut at line ends. They are shuffled; then,
/// round after round, each gives one window from a random free slot, until there are enough. The
/// slots of a document follow each other from a random phase within what is left over. Documents
/// shorter than a window are passed over. A document is tokenized when its turn comes.
/// Throws InvalidArgument for options out of range and where the text has too few windows;
/// otherwise as documents_of.
std::vector<std::vector<int64_t>> sample_windows(const Tokenizer& tokenizer, const TextFile& file,
                                                 const WindowOptions& options);

}  // namespace prunus
