#pragma once
#include "prunus/base/json.h"

namespace prunus {

/// What `prunus eval` measured, for people, from its JSON: one line a figure with its standard
/// error, LLM-Pruner's table in its own order, and fractions of the unpruned model's figures.
void print_evaluation(const Json& evaluation);

}  // namespace prunus
