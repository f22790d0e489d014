#include <nlohmann/json.hpp>

#include "prunus/export/answers.h"
#include "prunus/export/hf_directory.h"
#include "prunus/export/shell.h"
#include "prunus/export/stock_class.h"
#include "prunus/model/cost.h"

namespace prunus::forms {
namespace {

std::string more(double after, double before) {
  return c10::str("+", static_cast<int64_t>(100 * (after / before - 1) + 0.5), " %");
}

// What the zeros cost, at 64 tokens as elsewhere.
std::string cost(const ModelConfig& config, const ModelConfig& large) {
  if (large.layers == config.layers && large.head_dim == config.head_dim) return "";
  const auto parameters = [](const ModelConfig& one) {
    return static_cast<double>(count_parameters(one));
  };
  return c10::str(" (", more(parameters(large), parameters(config)), " parameters, ",
                  more(count_macs(large, 64).total(), count_macs(config, 64).total()),
                  " MACs, all zeros)");
}

std::vector<FormAnswer> answers(const ModelConfig& config) {
  const Shell shell = shell_of(config);
  if (!shell.legal()) {
    return {answer("transformers", shell.obstacles, ""), answer("vLLM", shell.obstacles, "")};
  }
  const StockClass stock = stock_class(shell.config);
  const std::string zeros = cost(config, shell.config);
  return {answer("transformers", stock.obstacles, load_in_transformers(false) + zeros),
          answer("vLLM", stock.vllm, load_in_vllm(false) + zeros)};
}

void write(const Model& model, const FormJob& job) {
  const Shell shell = shell_of(model.config());
  const StockClass stock = stock_class(shell.config);
  write_directory(in_stock_class(padded(model, shell.config), stock), job,
                  [&](const Json& source) { return stock_config(source, stock); });
}

}  // namespace

// Every layer padded with zeros to the widest: opens anywhere, and saves nothing where layers
// differ.
extern const OutputForm hf_shell{
    .name = "shell",
    .format = "hf",
    .rank = 3,
    .on_request = true,
    .description = "every layer padded with zeros to the widest, as a stock class",
    .tolerance = 1e-4,
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
