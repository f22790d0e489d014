#pragma once
#include <string>

#include "prunus/base/json.h"

namespace prunus {

/// Who opens a model, in which form, and how, or why not: legality_table() (export/choose.h) as
/// columns for a terminal.
std::string forms_text(const Json& table);

/// What `prunus export` made of a model.
void print_export_summary(const Json& record);

}  // namespace prunus
