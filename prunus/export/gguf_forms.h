#pragma once
#include <string_view>
#include <vector>

#include "prunus/export/form.h"
#include "prunus/export/gguf_choice.h"

namespace prunus {

// What the forms of GGUF share. llama.cpp alone reads them.

/// The first legal choice of those that `accept` takes, or the first of them with its obstacles.
GgufChoice gguf_choice_for(const ModelConfig& config, bool by_layer,
                           bool (*accept)(const GgufArchitecture&));

/// Yes with how it is loaded (and as what, with which zeros added to the model `config`, and what
/// llama.cpp computes otherwise), or no and why.
std::vector<FormAnswer> gguf_answers(const GgufChoice& choice, const ModelConfig& config);

/// Writes the file, sub-layers of zeros where the choice has more than the model, and notes in
/// job.record what became of its tensors.
void write_gguf_form(const Model& model, const GgufChoice& choice, const FormJob& job);

}  // namespace prunus
