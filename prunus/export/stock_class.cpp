#include "prunus/export/stock_class.h"

#include <algorithm>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/added_biases.h"

namespace prunus {
namespace {

// What the classes of vLLM 0.32 take for granted where the stock class of transformers does not.
// Types that are not here have a class that reads what is written, or run through transformers.
struct VllmClass {
  std::string_view model_type;
  bool heads_fill_hidden_size = false;  ///< head_dim is computed from hidden_size
  bool no_qkv_bias = false;
  bool no_out_bias = false;
  bool missing = false;  ///< neither vLLM nor transformers has a class
};
constexpr VllmClass kVllmClasses[] = {
    {.model_type = "qwen2", .heads_fill_hidden_size = true},
    {.model_type = "qwen2_moe", .heads_fill_hidden_size = true},
    {.model_type = "chatglm", .heads_fill_hidden_size = true},
    {.model_type = "gemma", .no_qkv_bias = true, .no_out_bias = true},
    {.model_type = "qwen3", .no_out_bias = true},
    {.model_type = "qwen3_moe", .no_out_bias = true},
    {.model_type = "glm4", .no_out_bias = true},
    {.model_type = "baichuan", .missing = true},
};

bool has_any(const ModelConfig& config, std::initializer_list<Role> biases) {
  return std::any_of(biases.begin(), biases.end(),
                     [&](Role bias) { return config.biases.contains(bias); });
}

std::vector<std::string> vllm_obstacles(const ModelConfig& config) {
  std::vector<std::string> found;
  for (const VllmClass& rule : kVllmClasses) {
    if (rule.model_type != config.family->model_type) continue;
    if (rule.missing) found.push_back("has no class for it");
    const int64_t filled = config.most_heads() * config.head_dim;
    if (rule.heads_fill_hidden_size && filled != config.hidden_size) {
      found.push_back(
          c10::str("its class for ", rule.model_type, " takes hidden_size / heads for head_dim"));
    }
    const bool qkv = rule.no_qkv_bias && has_any(config, {Role::QBias, Role::KBias, Role::VBias});
    const bool out = rule.no_out_bias && has_any(config, {Role::OBias});
    if (qkv || out) {
      found.push_back(c10::str("its class for ", rule.model_type, " has no place for the bias of ",
                               qkv ? "q_proj" : "o_proj"));
    }
  }
  return found;
}

const Family& llama() {
  const Family* family = find_family("llama");
  PRUNUS_CHECK(family != nullptr, InvalidArgument, "no family 'llama'");
  return *family;
}

// Whether a Llama of the same tensors computes the same.
bool is_like_llama(const ModelConfig& config) {
  const bool windows =
      std::any_of(config.layers.begin(), config.layers.end(),
                  [](const LayerShape& layer) { return layer.sliding_window.has_value(); });
  return config.family->tensors == llama().tensors && config.family != &llama() &&
         !config.qk_norm && !windows && config.rope_head_dim == 0;
}

StockClass judged(const ModelConfig& config, bool renamed) {
  StockClass one{.config = config, .renamed = renamed, .obstacles = {}, .vllm = {}};
  one.obstacles = stock_obstacles(config);
  one.vllm = vllm_obstacles(config);
  return one;
}

ModelConfig as_llama(const ModelConfig& config) {
  ModelConfig other = config;
  other.family = &llama();
  other.biases.clear();
  if (!config.biases.empty()) other.biases = with_added_biases(other, config.biases);
  return other;
}

}  // namespace

StockClass stock_class(const ModelConfig& config) {
  StockClass own = judged(config, false);
  if (!is_like_llama(config) || (own.obstacles.empty() && own.vllm.empty())) return own;
  StockClass other = judged(as_llama(config), true);
  if (!other.obstacles.empty()) return own;
  return own.obstacles.empty() && !other.vllm.empty() ? own : other;
}

Model in_stock_class(const Model& model, const StockClass& stock) {
  if (!stock.renamed) return model;
  ModelConfig config = stock.config;
  config.biases = model.config().biases;
  Model renamed(config, model.shared_source());
  renamed.set_precision(model.precision());
  std::set<Role> added;
  for (const Role bias : stock.config.biases) {
    if (!config.biases.contains(bias)) added.insert(*projection_of(bias));
  }
  return added.empty() ? renamed : with_zero_biases(renamed, added);
}

Json stock_config(const Json& source, const StockClass& stock) {
  if (!stock.renamed) return rewrite_config(source, stock.config);
  Json json = source;
  // Of its own type, so that keys that only Prunus reads are taken away.
  json["model_type"] = c10::str(kOwnTypePrefix, stock.config.family->model_type);
  json["architectures"] = {stock.config.family->architecture};
  for (const char* key :
       {"sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "auto_map"}) {
    json.erase(key);
  }
  // Where the classes have different defaults, the value must be written.
  json["max_position_embeddings"] = stock.config.max_position_embeddings;
  json["rms_norm_eps"] = stock.config.norm_eps;
  json["tie_word_embeddings"] = stock.config.tie_word_embeddings;
  return rewrite_config(json, stock.config);
}

}  // namespace prunus
