#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace prunus {

class PythonRandom;
class Tokenizer;
struct TextFile;

/// No window is longer.
constexpr int64_t kMaxWindowTokens = int64_t{1} << 30;

/// How many windows to draw, and how long each is.
struct WindowCounts {
  int64_t samples = 10;  ///< windows, at least 1
  int64_t tokens = 64;   ///< ids a window, 2 to kMaxWindowTokens
};

/// The rows of a file, in order: the documents of a JSON file (documents_of), the lines of any
/// other file that hold more than white space, without their line ends.
/// Throws as documents_of; Corrupt where a plain file has no such line.
std::vector<std::string> read_rows(const TextFile& file);

/// Ids of one row, BOS in front where the model has one.
using RowIds = std::function<std::vector<int64_t>(size_t row)>;

/// Draws calibration windows as LLM-Pruner does, number for number. For each: draw a row,
/// `randint(0, rows - 1)`, until it has at least `tokens` ids and this call has not used it yet;
/// then `start = randint(0, ids - tokens)`. So a window lies in one row, rows may be drawn again by
/// a later call, and BOS is in a window only where start = 0.
/// `random` goes on from call to call, as Python's global generator does between the rounds of
/// iterative pruning. A row is tokenized at most once a call, when it is first drawn.
/// Throws InvalidArgument for counts out of range, and once every row was drawn and too few are
/// long enough (LLM-Pruner loops for ever).
/// Source: horseee/LLM-Pruner, LLMPruner/datasets/example_samples.py, get_examples; CPython
/// Lib/random.py, randint. Fastest where most rows are long enough; else rows · ln(rows) draws.
std::vector<std::vector<int64_t>> sample_reference_windows(size_t rows, const RowIds& ids_of_row,
                                                           const WindowCounts& counts,
                                                           PythonRandom& random);

/// The same over rows of text.
std::vector<std::vector<int64_t>> sample_reference_windows(const Tokenizer& tokenizer,
                                                           const std::vector<std::string>& rows,
                                                           const WindowCounts& counts,
                                                           PythonRandom& random);

}  // namespace prunus
