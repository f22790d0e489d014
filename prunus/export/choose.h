#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/export/form.h"

namespace prunus {

/// Whether any program opens a model of this configuration in this form.
bool is_legal(const OutputForm& form, const ModelConfig& config);

/// The forms of a format ("hf", "gguf", "bitmask"), the best first.
std::vector<const OutputForm*> forms_of(std::string_view format);

/// The form of this name; an empty name: the best legal one that is not `on_request`.
/// Throws InvalidArgument: no such format or form, with the nearest name. Unsupported: not legal
/// for this model; the message has the reason and the nearest legal alternative.
const OutputForm& choose_form(std::string_view format, std::string_view name,
                              const ModelConfig& config);

/// Which programs open the model, in which form: an array, the best form first, of {"software",
/// "format", "form", "legal", "how" or "why", and "alternative" where the form is not legal and
/// another one for that program is}. Forms that are on request say so in "on_request".
Json legality_table(const ModelConfig& config);

}  // namespace prunus
