#pragma once
#include "prunus/base/json.h"

namespace prunus {

/// The few lines a person wants after prune or apply, from run.json's content, on stdout.
void print_prune_summary(const Json& record);

/// Sizes before and after, of what describe_model() (job/run_record.h) gives.
void print_sizes(const Json& before, const Json& after);

}  // namespace prunus
