#pragma once
#include <functional>

#include "prunus/base/json.h"
#include "prunus/export/form.h"

namespace prunus {

/// Writes a model into job.out as a Hugging Face directory: weights, tokenizer, licences, and the
/// config.json that `config_of` makes of the source's, whose lists of layers are reduced to those
/// that are left. Where the weights have another dtype than that config says, it is corrected.
/// Throws as write_model().
void write_directory(const Model& model, const FormJob& job,
                     const std::function<Json(const Json& source)>& config_of);

/// The model with its weights rounded to `dtype` when they are read: F32, F16 or BF16.
Model in_dtype(const Model& model, at::ScalarType dtype);

}  // namespace prunus
