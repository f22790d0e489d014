#include "prunus/export/gguf_forms.h"

namespace prunus::forms {
namespace {

GgufChoice choice(const ModelConfig& config) {
  return gguf_choice_for(config, false, [](const GgufArchitecture&) { return true; });
}

std::vector<FormAnswer> answers(const ModelConfig& config) {
  return gguf_answers(choice(config), config);
}

void write(const Model& model, const FormJob& job) {
  write_gguf_form(model, choice(model.config()), job);
}

}  // namespace

// The architecture of the family, or one with the same mathematics (Qwen2 as llama with biases).
extern const OutputForm gguf_stock{
    .name = "stock",
    .format = "gguf",
    .description = "the family's own architecture; layers of one size",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
