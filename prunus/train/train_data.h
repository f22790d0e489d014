#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/text/text_file.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

class ChatFormat;

/// One row that goes through the model.
struct TrainRow {
  std::vector<int64_t> ids;
  /// Same length: 1 where this token is to be predicted from those before it. The first is 0.
  std::vector<uint8_t> scored;
};

/// What a data file holds.
enum class DataFormat {
  Auto,      ///< told from the file's first record
  Text,      ///< plain text, or jsonl with "text"
  Instruct,  ///< records with instruction, input (optional), output; or prompt and response
  Chat,      ///< conversations, written by a chat template
};
/// "auto", "text", "instruct", "chat". Throws InvalidArgument naming what is known.
DataFormat parse_data_format(std::string_view name);
std::string_view data_format_name(DataFormat format);
/// What a file is read as: `asked`, unless that is Auto. Throws Corrupt.
DataFormat data_format(const TextFile& file, DataFormat asked);

/// Whether rows hold one document each or as much as fits.
enum class Packing {
  Auto,  ///< Pack for text, Pad for instructions and conversations
  Pack,  ///< rows of row_tokens, documents following each other
  Pad,   ///< one document or record a row, cut at row_tokens, padded in the batch
  Fill,  ///< each document begins a row, which those after it fill up: for short documents
};

Packing parse_packing(std::string_view name);

struct DataOptions {
  DataFormat format = DataFormat::Auto;
  std::shared_ptr<const ChatFormat> chat = nullptr;  ///< how conversations are written
  Packing packing = Packing::Auto;
  int64_t row_tokens = 256;      ///< length of a packed row, longest unpacked row; ≥ 2
  bool train_on_prompt = false;  ///< Instruct, Chat: all tokens are scored
  bool append_eos = true;        ///< EOS after each document or response, where there is one
  double valid_fraction = 0.0;   ///< share kept for validation, [0, 1)
  int64_t max_valid_rows = 200;  ///< the share is cut to this many rows; ≥ 1
  uint64_t seed = 0;             ///< of the split
};

struct DataSplit {
  std::vector<TrainRow> train;
  std::vector<TrainRow> valid;
  DataFormat format = DataFormat::Text;  ///< what it was: Text, Instruct or Chat
  int64_t documents = 0;                 ///< documents or records read
  int64_t cut = 0;                       ///< unpacked rows cut at row_tokens, and kept
  int64_t unscored = 0;  ///< rows left out since nothing in them is scored; empty documents too
};

/// Reads and tokenises a training file. Shows progress.
/// Text: as documents_of (a plain file is one document). A document is what the
/// tokenizer puts in front of every text (BOS, if anything), its ids, EOS (unless it ends in one);
/// one without ids is passed over. Packed: documents follow each other in one stream, cut into rows
/// of row_tokens; a row that begins inside a document gets BOS in front (and one id less of the
/// stream), as every evaluation text has; the last row may be shorter. All but a row's first id are
/// scored. Every id of the text is in exactly one row (a last row of a single id, with no BOS in
/// front, is left out). Instruct: one record a line, or a JSON array. Prompt and response as
/// instructions_of() gives them, tokenised as one text between BOS and EOS, cut at row_tokens.
/// Only the response and EOS are scored unless train_on_prompt; nothing is where the response is
/// empty. The prompt's length is that of BOS and the prompt tokenised alone, as in LLM-Pruner, also
/// where a token of the row spans its end. Chat: conversation_of() each record, as
/// ChatFormat::render() writes it and tokenised as one text, with nothing put around it; the tokens
/// are scored that hold some of what is to be learnt. Validation: by documents or records where
/// there are several, else by rows; drawn by seed before packing, so no document is in both parts.
/// At least one unit where valid_fraction > 0 and there are two. Documents are drawn until their
/// share or max_valid_rows is reached; what the last of them has beyond those rows is not used.
/// Throws Corrupt naming file and line (or record number); InvalidArgument for options out of
/// range; Corrupt where nothing is left to train on; Interrupted.
DataSplit read_train_data(const TextFile& file, const Tokenizer& tokenizer,
                          const DataOptions& options);

/// Which rows a step takes: all rows in an order shuffled anew in every epoch, `per_step` at a
/// time; an epoch's last step may be filled from the next epoch. A function of the arguments alone,
/// so a resumed run takes the same rows.
class RowOrder {
 public:
  /// rows ≥ 1, per_step ≥ 1; throws InvalidArgument otherwise.
  RowOrder(int64_t rows, int64_t per_step, uint64_t seed);
  /// The row numbers of a step ≥ 0. Cost: a shuffle of all rows where an epoch begins.
  std::vector<int64_t> rows_of(int64_t step) const;

 private:
  int64_t rows_;
  int64_t per_step_;
  uint64_t seed_;
  mutable int64_t epoch_ = -1;  // of order_
  mutable std::vector<int64_t> order_;
};

/// Rows that go through the model together, padded on the right.
struct TrainBatch {
  at::Tensor ids;       ///< int64 [rows, seq]; padding is id 0
  at::Tensor scored;    ///< bool [rows, seq]; column 0 and padding are false
  int64_t targets = 0;  ///< number of true elements of `scored`
};

/// The rows with these numbers, `micro_rows` at a time, each batch padded to its longest row; rows
/// of similar length come together, longest first, which saves padding and changes no sum. Throws
/// InvalidArgument for a number that no row has and for micro_rows below 1.
std::vector<TrainBatch> make_train_batches(const std::vector<TrainRow>& rows,
                                           const std::vector<int64_t>& numbers, int64_t micro_rows);

}  // namespace prunus
