#pragma once
#include <cstdint>
#include <string>

#include "prunus/base/json.h"
#include "prunus/model/model.h"

namespace prunus {

/// Writes a model as a Hugging Face directory into `dir` (which exists and is empty): weights in
/// their file's dtypes (shards of at most 5 GB, deterministic bytes), config.json rewritten from
/// `source_dir`'s, every other file of `source_dir` that is not a weight copied.
/// One tensor is in memory at a time. Throws Io.
void write_model(const Model& model, const std::string& source_dir, const std::string& dir);

struct OutputCheck {
  int64_t tokens = 0;       ///< compared
  double max_abs_diff = 0;  ///< over all logits
  double max_abs_logit = 0;
};

Json to_json(const OutputCheck& check);

/// Opens `dir` again from nothing and compares its logits on `ids` (int64 [batch, seq]) with those
/// of `model`. Throws OutputCheck where they differ by more than 1e-5 of the largest logit, Numeric
/// where the logits are not finite.
OutputCheck check_output(const Model& model, const std::string& dir, const at::Tensor& ids,
                         at::Device device);

/// Token ids for checks where no text is at hand: [2, 16], drawn by a fixed seed.
at::Tensor probe_ids(const ModelConfig& config);

}  // namespace prunus
