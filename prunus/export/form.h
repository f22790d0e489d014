#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/model/model.h"

namespace prunus {

/// What one program makes of a model that is written in some form.
struct FormAnswer {
  std::string_view software;  ///< "transformers", "vLLM", "llama.cpp", "MLX"
  bool yes = false;
  /// Yes: how it is loaded, a line of the user's. No: why not, in words that follow "…: ".
  std::string text;
};

/// What writing in a form needs besides the model.
struct FormJob {
  std::string source;      ///< what the model was opened from: its config.json, tokenizer, licences
  std::string out;         ///< gguf: a file that does not exist yet; else an empty directory
  std::string quant = {};  ///< gguf: "q8_0" …; empty: the dtypes of the model
  std::string values = {};  ///< bitmask: "bf16" or "int8"; empty: bf16
  Json* record = nullptr;   ///< where the form notes what it did, for run.json; null: nowhere
  /// Which layers of the source are left, where some were dropped: lists of its config.json with an
  /// entry for each layer follow. Empty: all.
  std::vector<int64_t> layers = {};
  /// From GGUF to GGUF: ids of the source's tokens that are left, where some were dropped. Empty:
  /// all.
  std::vector<int64_t> tokens = {};
};

/// A form that a model can be written in. One object per file of export/forms/, named after the
/// file: hf_stock.cpp holds `hf_stock`. What it holds is judged by the configuration alone: zeros
/// in weights are dense, and legal everywhere.
struct OutputForm {
  std::string_view name;         ///< as --form has it: "stock", "shell", "deci"
  std::string_view format;       ///< as --format has it: "hf", "gguf" or "bitmask"
  int rank = 0;                  ///< among legal forms of a format the lowest is the best
  bool on_request = false;       ///< never chosen without --form: it costs something
  std::string_view description;  ///< what it is, in half a line, for --help and docs

  /// What the logits of the reopened model may differ by, as a share of the largest: more than
  /// rounding where the products' shapes are others, so that their sums have another order.
  double tolerance = 1e-5;

  /// One answer for each program that the form is meant for, in the order of a table. The form is
  /// legal where one of them is yes.
  std::vector<FormAnswer> (*answers)(const ModelConfig& config);

  /// Writes the model into job.out. Called only where the form is legal. Throws Corrupt, Io.
  void (*write)(const Model& model, const FormJob& job);
};

namespace forms {
/// Every form, by file name. Source: the files of export/forms/.
std::span<const OutputForm* const> all();
}  // namespace forms

}  // namespace prunus
