#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/export/answers.h"
#include "prunus/export/hf_directory.h"
#include "prunus/export/remote_config.h"
#include "prunus/export/stock_class.h"
#include "prunus/model/config_spellings.h"

namespace prunus::forms {
namespace {

// A width that is a multiple of this can be said by ffn_mult, whose readers round up to one.
constexpr int64_t kMultiple = 256;

bool all_widths_are_multiples(const ModelConfig& config) {
  return std::all_of(config.layers.begin(), config.layers.end(), [](const LayerShape& layer) {
    return layer.intermediate_size % kMultiple == 0;
  });
}

// The model as a Llama, which the blocks are those of.
StockClass as_llama(const ModelConfig& config) {
  // The sizes of one layer stand for all: what the others may differ in is judged here.
  LayerShape template_layer = config.layers.front();
  for (const LayerShape& layer : config.layers) {
    if (layer.has(SubLayer::Attention) && layer.has(SubLayer::FeedForward)) template_layer = layer;
  }
  ModelConfig uniform = config;
  for (LayerShape& layer : uniform.layers) {
    const auto window = layer.sliding_window;
    layer = template_layer;
    layer.sliding_window = window;
  }
  StockClass stock = stock_class(uniform);
  stock.config.layers = config.layers;
  return stock;
}

std::vector<std::string> obstacles_of(const ModelConfig& config) {
  const StockClass stock = as_llama(config);
  std::vector<std::string> found;
  if (stock.config.family->model_type != "llama") {
    found.push_back(
        c10::str("blocks of DeciLM are Llama's, this is a ", config.family->model_type));
  }
  for (const LayerShape& layer : config.layers) {
    if (!layer.has(SubLayer::Attention)) continue;
    if (layer.num_attention_heads == config.most_heads()) continue;
    found.emplace_back("query heads differ between layers; DeciLM has one number for all");
    break;
  }
  for (const std::string& one : stock_obstacles(stock.config)) {
    const bool said = one == kUnevenLayers || one == kNoAttention || one == kNoFeedForward;
    if (!said) found.push_back(one);
  }
  if (config.activation != Activation::Silu) found.emplace_back("DeciLM has SiLU alone");
  return found;
}

std::vector<FormAnswer> answers(const ModelConfig& config) {
  const std::vector<std::string> obstacles = obstacles_of(config);
  std::vector<std::string> mlx = obstacles;
  if (!all_widths_are_multiples(config)) {
    mlx.push_back(c10::str("mlx-lm reads widths as multiples of ", kMultiple,
                           ": prune with --round-to ", kMultiple));
  }
  const int64_t filled = config.most_heads() * config.head_dim;
  if (filled != config.hidden_size) {
    mlx.emplace_back("mlx-lm takes hidden_size / heads for head_dim");
  }
  std::vector<std::string> vllm = obstacles;
  if (!config.layers[0].has(SubLayer::Attention)) {
    vllm.emplace_back("its DeciLM needs attention in the first layer");
  }
  return {answer("vLLM", vllm, load_in_vllm(true)),
          answer("transformers", obstacles, load_in_transformers(true)),
          answer("MLX", mlx, "mlx_lm.generate --model OUT")};
}

// What is not there has a null for its size, as in NVIDIA's own files.
Json block_of(const ModelConfig& config, const LayerShape& layer, bool multiples) {
  const bool attention = layer.has(SubLayer::Attention);
  const bool feed_forward = layer.has(SubLayer::FeedForward);
  Json ffn = {{"no_op", !feed_forward}, {"replace_with_linear", false}};
  if (!feed_forward) {
    ffn[multiples ? "ffn_mult" : "intermediate_size"] = nullptr;
  } else if (multiples) {
    ffn["ffn_mult"] = 1.5 * static_cast<double>(layer.intermediate_size) /
                      static_cast<double>(config.hidden_size);
  } else {
    ffn["intermediate_size"] = layer.intermediate_size;
  }
  return {{"attention",
           {{"no_op", !attention},
            {"replace_with_linear", false},
            {"n_heads_in_group",
             attention ? Json(layer.num_attention_heads / layer.num_key_value_heads) : Json()}}},
          {"ffn", ffn}};
}

Json config_of(const Json& source, const StockClass& stock) {
  Json json = remote_config(stock_config(source, stock), stock.config);
  json.erase("per_layer_config");
  // mlx-lm reads the older spelling of the rotary embedding alone.
  Json scaling = json.at("rope_parameters");
  json["rope_theta"] = scaling.at("rope_theta");
  scaling.erase("rope_theta");
  if (scaling.at("rope_type") != "default") json["rope_scaling"] = scaling;
  // vLLM knows no default for it.
  json["hidden_act"] = json.at(std::string(kRemoteType)).at("activation");
  json["architectures"] = {"DeciLMForCausalLM"};
  json["model_type"] = kBlockConfigType;
  json["auto_map"] = {{"AutoConfig", "configuration_prunus.PrunusBlockConfig"},
                      {"AutoModel", "modeling_prunus.PrunusBlockModel"},
                      {"AutoModelForCausalLM", "modeling_prunus.PrunusBlockForCausalLM"}};
  const bool multiples = all_widths_are_multiples(stock.config);
  Json blocks = Json::array();
  for (const LayerShape& layer : stock.config.layers) {
    blocks.push_back(block_of(stock.config, layer, multiples));
  }
  json["block_configs"] = blocks;
  return json;
}

void write(const Model& model, const FormJob& job) {
  const StockClass stock = as_llama(model.config());
  write_directory(in_stock_class(model, stock), job,
                  [&](const Json& source) { return config_of(source, stock); });
  write_remote_files(job.out);
}

}  // namespace

// vLLM's DeciLMForCausalLM (and MLX's nemotron-nas): one number of query heads, key/value heads and
// widths by layer.
extern const OutputForm hf_deci_lm{
    .name = "deci-lm",
    .format = "hf",
    .rank = 1,
    .description = "block_configs of DeciLM, for vLLM and MLX",
    .answers = answers,
    .write = write,
};

}  // namespace prunus::forms
