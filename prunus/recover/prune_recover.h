#pragma once
#include <cstdint>
#include <string>

#include "prunus/base/json.h"
#include "prunus/base/option.h"
#include "prunus/pipeline/run.h"

namespace prunus {

/// What `prunus prune --recover` does behind pruning.
struct RecoverAfter {
  bool on = false;
  std::string data;  ///< as RecoverJob's; empty: the calibration text
  /// Tokens to train on, rounded up to whole steps of 8 rows of 256 (or the context).
  int64_t tokens = 262'144;
};

/// The options of `prune` that are this job's; the others are prune_table's.
extern const OptionTable<RecoverAfter> recover_after_table;

/// One whole `prunus prune --recover`: prunes, then distils: all weights of the result learn the
/// distribution of the model that they came from (run_recover, all weights, forward KL and a tenth
/// of the text's own loss, AdamW at 3e-4, cosine; BF16 products on CUDA and on CPUs that have units
/// for them). The pruned model stands in OUT.pruned (beside the work folder) until the result does;
/// with PruneJob::resume a run goes on in whichever of the two it stopped.
/// run.json is that of recover with the record of pruning as `prune`; plan.json is pruning's.
/// Throws as run_prune() and run_recover(); InvalidArgument, before anything is done: no text to
/// learn from, a plan alone (dry_run), a form or file that recover does not write, a smaller
/// vocabulary; OUT.pruned of another run.
Json run_prune_recover(const PruneJob& job, const RecoverAfter& after);

}  // namespace prunus
