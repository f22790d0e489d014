#include "prunus/export/gguf_forms.h"

namespace prunus::forms {
namespace {

GgufChoice choice(const ModelConfig& config) {
  return gguf_choice_for(config, true,
                         [](const GgufArchitecture& one) { return one.name == "deci"; });
}

std::vector<FormAnswer> answers(const ModelConfig& config) {
  return gguf_answers(choice(config), config);
}

void write(const Model& model, const FormJob& job) {
  write_gguf_form(model, choice(model.config()), job);
}

}  // namespace

// Llama's graph with heads and widths of each layer: Llama, Mistral, Qwen2, Phi-3 and the like.
extern const OutputForm gguf_deci{
    .name = "deci",
    .format = "gguf",
    .rank = 1,
    .description = "llama.cpp's architecture for Llama layers of different sizes",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
