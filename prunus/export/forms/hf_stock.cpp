#include <nlohmann/json.hpp>

#include "prunus/export/answers.h"
#include "prunus/export/hf_directory.h"
#include "prunus/export/stock_class.h"
#include "prunus/model/stock_fields.h"

namespace prunus::forms {
namespace {

std::vector<FormAnswer> answers(const ModelConfig& config) {
  const StockClass stock = stock_class(config);
  // Families that transformers has no class of come with their own code.
  const bool own_code = stock_fields(stock.config.family->model_type) == nullptr;
  const std::string as = stock.renamed ? c10::str(" (a ", config.family->model_type, " written as ",
                                                  stock.config.family->model_type, ")")
                                       : "";
  std::vector<std::string> vllm = stock.obstacles;
  vllm.insert(vllm.end(), stock.vllm.begin(), stock.vllm.end());
  return {answer("transformers", stock.obstacles, load_in_transformers(own_code) + as),
          answer("vLLM", vllm, load_in_vllm(own_code) + as)};
}

void write(const Model& model, const FormJob& job) {
  const StockClass stock = stock_class(model.config());
  write_directory(in_stock_class(model, stock), job,
                  [&](const Json& source) { return stock_config(source, stock); });
}

}  // namespace

// The model's own stock class, or the nearest that has the same mathematics.
extern const OutputForm hf_stock{
    .name = "stock",
    .format = "hf",
    .description = "config and tensors of a stock class; no code, nothing padded",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
