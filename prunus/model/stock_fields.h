#pragma once
#include <string_view>

#include "prunus/base/json.h"

namespace prunus {

/// What the stock transformers class of a `model_type` knows of a config.json: field name →
/// [default, read]. `read` is 1 where building or running the model looks at the field, 0 where the
/// class only declares it; `default` is null where the class gives none. Null for a type that
/// transformers has no class of. Source: transformers, by tools/make_config_fields.py.
const Json* stock_fields(std::string_view model_type);

/// Whether the field is a setting of generation ("temperature"), which stock classes pass over.
bool is_generation_setting(std::string_view name);

}  // namespace prunus
