#pragma once
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/model/model.h"

namespace prunus {

/// How a model stands in stock software: its own class, or one of the same mathematics and tensor
/// names (a qwen2 as a llama, whose attention_bias has zeros for o_proj).
struct StockClass {
  ModelConfig config;    ///< of the class that is written; equal to the model's where it is its own
  bool renamed = false;  ///< another class than the model's
  std::vector<std::string> obstacles;  ///< why transformers does not open it; empty: it does
  std::vector<std::string> vllm;       ///< why vLLM does not; with the former
};

/// The model's own class where both programs open that, else Llama where both open that, else the
/// model's own where transformers does, else Llama. (rewrite_config() turns a llama with
/// indivisible heads into a mistral, which is as good as its own.) Source of what vLLM refuses:
/// vLLM 0.32, model_executor/models.
StockClass stock_class(const ModelConfig& config);

/// The model as that class has it: biases of zeros where that needs them.
Model in_stock_class(const Model& model, const StockClass& stock);

/// config.json of that class.
Json stock_config(const Json& source, const StockClass& stock);

}  // namespace prunus
