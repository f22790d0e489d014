#pragma once
#include <cstdint>
#include <string>

#include "prunus/base/json.h"
#include "prunus/job/model_sink.h"
#include "prunus/model/model.h"

namespace prunus {

/// Writes a model through a sink, one tensor in memory at a time (of a mixture whose experts are
/// apart in the file: one layer's experts). Shows progress.
/// Throws Corrupt for a weight that is not finite; Interrupted; as the sink does.
void write_model(const Model& model, ModelSink& sink);

/// The same as a Hugging Face directory into `dir`, which exists and is empty (SafetensorsSink):
/// weights in their file's dtypes, deterministic bytes, config.json and companions after
/// `source_dir`'s. Throws Io.
void write_model(const Model& model, const std::string& source_dir, const std::string& dir);

struct OutputCheck {
  int64_t tokens = 0;       ///< compared
  double max_abs_diff = 0;  ///< over all logits
  double max_abs_logit = 0;
};

Json to_json(const OutputCheck& check);

/// Opens `dir` again from nothing and compares its logits on `ids` (int64 [batch, seq]) with those
/// of `model`. Throws OutputCheck where they differ by more than `tolerance` of the largest logit,
/// Numeric where the logits are not finite.
OutputCheck check_output(const Model& model, const std::string& dir, const at::Tensor& ids,
                         at::Device device, double tolerance = 1e-5);

/// Token ids for checks where no text is at hand: [2, 16], drawn by a fixed seed.
at::Tensor probe_ids(const ModelConfig& config);

}  // namespace prunus
