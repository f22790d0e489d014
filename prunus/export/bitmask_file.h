#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/export/form.h"
#include "prunus/io/bitmask.h"
#include "prunus/job/model_sink.h"

namespace prunus {

/// The format of a directory whose matrices are stored without their zeros
/// (docs/formats/bitmask.md), as --format has it.
inline constexpr std::string_view kBitmaskFormat = "bitmask";

/// What became of a model's matrices.
struct BitmaskReport {
  bool exact = true;        ///< every number in the file is the model's
  int64_t matrices = 0;     ///< stored without their zeros
  int64_t weights = 0;      ///< of those matrices
  int64_t values = 0;       ///< stored of them
  int64_t bytes = 0;        ///< of all weights in the file
  int64_t dense_bytes = 0;  ///< of the same with their zeros, in the model's dtypes
};

/// For run.json: {"exact", "matrices", "weights", "values", "bytes", "dense_bytes"}.
Json to_json(const BitmaskReport& report);

/// Writes a directory: config.json with a quantization_config that says so, and safetensors in
/// which every matrix of a layer with kSparseShare of zeros (model/zero_mask.h) is a bitmask, where
/// that is smaller. Each of these matrices is read three times: to count, for its numbers, for its
/// mask; one is in memory at a time, and the counts of all rows. job.values: "bf16", "int8" or
/// empty. Shows progress. Throws InvalidArgument where no matrix has zeros; Unsupported where
/// numbers are to be BF16 and the model's are not; Corrupt for a weight that is not finite; Io.
BitmaskReport write_bitmask(const Model& model, const FormJob& job);

}  // namespace prunus
