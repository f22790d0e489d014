#include "prunus/export/gguf_forms.h"

namespace prunus::forms {
namespace {

GgufChoice choice(const ModelConfig& config) {
  return gguf_choice_for(config, true,
                         [](const GgufArchitecture& one) { return one.name == "openelm"; });
}

std::vector<FormAnswer> answers(const ModelConfig& config) {
  return gguf_answers(choice(config), config);
}

void write(const Model& model, const FormJob& job) {
  write_gguf_form(model, choice(model.config()), job);
}

}  // namespace

// Qwen3's graph with heads and widths of each layer, as long as the head is the embedding.
extern const OutputForm gguf_openelm{
    .name = "openelm",
    .format = "gguf",
    .rank = 1,
    .description = "llama.cpp's architecture for layers of a tied Qwen3 of different sizes",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
