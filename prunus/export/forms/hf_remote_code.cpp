#include <nlohmann/json.hpp>

#include "prunus/export/answers.h"
#include "prunus/export/hf_directory.h"
#include "prunus/export/remote_config.h"

namespace prunus::forms {
namespace {

std::vector<FormAnswer> answers(const ModelConfig& config) {
  const std::vector<std::string> obstacles = remote_obstacles(config);
  std::vector<std::string> vllm = obstacles;
  if (!config.all_have(SubLayer::Attention)) {
    vllm.emplace_back("its backend for such code makes an attention for every layer");
  }
  return {answer("transformers", obstacles, load_in_transformers(true)),
          answer("vLLM", vllm, load_in_vllm(true))};
}

void write(const Model& model, const FormJob& job) {
  write_directory(model, job,
                  [&](const Json& source) { return remote_config(source, model.config()); });
  write_remote_files(job.out);
}

}  // namespace

// The sizes as they are, with a class of Prunus's own beside them.
extern const OutputForm hf_remote_code{
    .name = "remote-code",
    .format = "hf",
    .rank = 2,
    .on_request = true,
    .description = "sizes as they are, with modeling_prunus.py beside them",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
