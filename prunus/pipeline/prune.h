#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prunus/calib/stream.h"
#include "prunus/pipeline/method.h"
#include "prunus/pipeline/plan.h"

namespace prunus {

/// What to remove. Every field has the command line's default.
struct PruneOptions {
  std::string method = "llm-pruner";  ///< a name of pipeline/methods/
  std::string taylor;   ///< variant for llm-pruner: param_first, vectorize; empty: default
  double ratio = 0.25;  ///< in [0, 1): fraction of the units of each group set
  std::optional<LayerRange> layers;  ///< half-open; absent: all
  uint64_t seed = 0;
  at::Device device = at::Device(at::kCPU);
};

struct PlanResult {
  Plan plan;
  double calibration_loss = 0;  ///< nats per token; 0 where no calibration was needed
};

/// True where the options' criterion must see calibration text.
bool needs_calibration(const PruneOptions& options);

/// Group, estimate, rank: FFN channels and KV groups of the layers in range. Only reads the model.
/// Throws InvalidArgument for options out of range; Numeric for scores that are not finite.
PlanResult make_plan(const Model& model, const std::vector<TokenBatch>& batches,
                     const PruneOptions& options);

}  // namespace prunus
