#pragma once
#include "prunus/base/json.h"

namespace prunus {

/// What a recover or train run did, for people, from its run.json.
void print_recover_summary(const Json& record);
/// Of `prune --recover`: what was removed, what training brought back, who opens the result.
void print_prune_recover_summary(const Json& record);

}  // namespace prunus
