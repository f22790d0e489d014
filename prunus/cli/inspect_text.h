#pragma once
#include <string>

#include "prunus/base/json.h"

namespace prunus {

/// What run_inspect() says, for people: aligned tables, consecutive equal layers in one row unless
/// `every_layer`.
std::string inspect_text(const Json& report, bool every_layer);

/// Names, dtypes, shapes and sizes of a checkpoint's tensors, for a family that is not known; empty
/// where `path` holds no weights.
std::string list_tensors(const std::string& path);

}  // namespace prunus
