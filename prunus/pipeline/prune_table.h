#pragma once
#include "prunus/base/option.h"
#include "prunus/pipeline/run.h"

namespace prunus {

/// Every option of `prunus prune`; run.json has them as they are resolved.
extern const OptionTable<PruneJob, PruneRecipe> prune_table;
extern const OptionTable<ApplyJob> apply_table;

}  // namespace prunus
