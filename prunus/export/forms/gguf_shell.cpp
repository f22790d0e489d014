#include "prunus/export/gguf_forms.h"
#include "prunus/export/shell.h"

namespace prunus::forms {
namespace {

GgufChoice choice(const ModelConfig& config) {
  return gguf_choice_for(config, false, [](const GgufArchitecture&) { return true; });
}

std::vector<FormAnswer> answers(const ModelConfig& config) {
  if (config.uniform()) {
    return {{"llama.cpp", false, "layers of one size need no padding"}};
  }
  const Shell shell = shell_of(config);
  if (!shell.legal()) return {{"llama.cpp", false, shell.obstacles[0]}};
  return gguf_answers(choice(shell.config), shell.config);
}

void write(const Model& model, const FormJob& job) {
  const Shell shell = shell_of(model.config());
  write_gguf_form(padded(model, shell.config), choice(shell.config), job);
}

}  // namespace

// Every layer padded with zeros to the widest, in the family's own architecture.
extern const OutputForm gguf_shell{
    .name = "shell",
    .format = "gguf",
    .rank = 3,
    .on_request = true,
    .description = "every layer padded with zeros to the widest, in the family's own architecture",
    .tolerance = 1e-4,
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
