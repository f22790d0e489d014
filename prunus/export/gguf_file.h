#pragma once
#include <map>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/export/form.h"
#include "prunus/export/gguf_choice.h"

namespace prunus {

/// What became of the tensors of a GGUF file.
struct GgufReport {
  std::map<std::string, int64_t> types;  ///< tensors of each element type
  std::vector<std::string> copied;       ///< quantised in the source, taken over bit for bit
  std::vector<std::string> requantised;  ///< quantised in the source and again, from its values
  struct Fallback {
    std::string tensor, wanted, got;
  };
  bool exact = true;  ///< every value in the file is the model's: nothing was quantised or rounded
  std::vector<Fallback> fallbacks;  ///< whose rows are no whole blocks of the type asked for
};

/// For run.json: {"types", "exact", "blocks_copied", "requantised", "fallbacks"}.
Json to_json(const GgufReport& report);

/// What a user should know of it, in a line each; empty where there is nothing.
std::vector<std::string> remarks(const GgufReport& report);

/// The names that --quant takes, best first: "f32", "f16", …
std::vector<std::string> gguf_quant_names();

/// Throws InvalidArgument for a name that is none of them.
void check_gguf_quant(const std::string& name);

/// Writes a model as one GGUF file, one tensor in memory at a time. `choice`: legal, of
/// model.config(). job.quant: a type for matrices; the head gets Q6_K where the type has fewer
/// bits, vectors and routers are FP32. Empty: each tensor as it is in the source, a GGUF file or
/// the dtypes of a checkpoint. Rows that are no whole blocks get the type that fits
/// (fitting_type()); blocks of a GGUF source that are left whole are copied. Shows progress. Throws
/// InvalidArgument: an unknown quant. Corrupt: a weight that is not finite. Numeric: a value that
/// the type cannot hold. Unsupported: a tokenizer that llama.cpp does not have. Io.
GgufReport write_gguf(const Model& model, const GgufChoice& choice, const FormJob& job);

}  // namespace prunus
