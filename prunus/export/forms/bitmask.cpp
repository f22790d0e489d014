#include <nlohmann/json.hpp>

#include "prunus/export/bitmask_file.h"

namespace prunus::forms {
namespace {

std::vector<FormAnswer> answers(const ModelConfig&) {
  return {{"Prunus", true, "prunus generate OUT --prompt TEXT; sparse models alone"}};
}

void write(const Model& model, const FormJob& job) {
  const BitmaskReport report = write_bitmask(model, job);
  if (job.record != nullptr) *job.record = to_json(report);
}

}  // namespace

// Matrices of layers as a mask and what is not 0.
extern const OutputForm bitmask{
    .name = "bitmask",
    .format = kBitmaskFormat,
    .description = "a mask and what is not 0 of each sparse matrix, for Prunus alone",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
