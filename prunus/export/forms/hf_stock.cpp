#include "prunus/export/form.h"
#include "prunus/job/output.h"

namespace prunus::forms {
namespace {

std::vector<FormAnswer> answers(const ModelConfig& config) {
  std::string why;
  for (const std::string& obstacle : stock_obstacles(config)) {
    why += (why.empty() ? "" : "; ") + obstacle;
  }
  std::vector<FormAnswer> all;
  for (const std::string_view software : {"transformers", "vLLM"}) {
    const bool yes = why.empty();
    const std::string how =
        software == "vLLM" ? "vllm serve OUT" : "AutoModelForCausalLM.from_pretrained(\"OUT\")";
    all.push_back({software, yes, yes ? how : why});
  }
  return all;
}

void write(const Model& model, const FormJob& job) { write_model(model, job.source, job.out); }

}  // namespace

// The model's own stock class, or the nearest that has the same mathematics.
extern const OutputForm hf_stock{
    .name = "stock",
    .format = "hf",
    .description = "config and tensors of the stock class, no code",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
