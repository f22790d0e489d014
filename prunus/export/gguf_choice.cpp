#include "prunus/export/gguf_choice.h"

#include <algorithm>

#include "prunus/model/model.h"

namespace prunus {
namespace {

// Everything that the decoder takes from the family's table and not from the configuration.
bool same_mathematics(const Family& one, const Family& other) {
  return one.norm == other.norm && one.gated == other.gated && one.positions == other.positions &&
         one.position_offset == other.position_offset &&
         one.interleaved_rope == other.interleaved_rope && one.qk_norm_rows == other.qk_norm_rows &&
         one.embedding_norm == other.embedding_norm &&
         one.normalised_head == other.normalised_head && one.mixture == other.mixture;
}

// What the graph of the other family does not take from the file.
bool same_constants(const ModelConfig& config, const Family& other) {
  return config.pre_norm == other.pre_norm.value &&
         config.parallel_residual == other.parallel_residual.value &&
         config.final_norm == other.final_norm.value && !config.qk_norm && !other.qk_norm.value &&
         config.rotary_dim == 0 && config.attention_softcap == 0 && config.logit_softcap == 0;
}

bool windowed(const ModelConfig& config) {
  return std::any_of(config.layers.begin(), config.layers.end(),
                     [](const LayerShape& layer) { return layer.sliding_window.has_value(); });
}

// Sub-layers of zeros where the graph needs some.
ModelConfig completed(const ModelConfig& config, const GgufLimits& limits) {
  ModelConfig complete = config;
  for (size_t i = 0; i < complete.layers.size(); ++i) {
    LayerShape& layer = complete.layers[i];
    if (!layer.has(SubLayer::FeedForward)) layer.intermediate_size = kZeroChannels;
    if (!layer.has(SubLayer::Attention) && (i == 0 || !limits.attention_free)) {
      layer.num_attention_heads = 1;
      layer.num_key_value_heads = 1;
    }
  }
  return complete;
}

GgufChoice judged(const ModelConfig& config, const GgufArchitecture& row, bool renamed) {
  GgufChoice choice{
      &row, row.limits.sizes_by_layer ? completed(config, row.limits) : config, renamed, {}};
  choice.obstacles = gguf_obstacles(choice.config, row);
  return choice;
}

bool has_row(const std::vector<GgufChoice>& choices, std::string_view architecture) {
  return std::any_of(choices.begin(), choices.end(), [&](const GgufChoice& choice) {
    return choice.architecture->name == architecture;
  });
}

}  // namespace

std::vector<GgufChoice> gguf_choices(const ModelConfig& config, bool by_layer) {
  std::vector<GgufChoice> choices;
  for (const GgufArchitecture* row : gguf_architectures_of(*config.family)) {
    if (row->limits.sizes_by_layer != by_layer) continue;
    choices.push_back(judged(config, *row, false));
  }
  for (const GgufArchitecture& row : gguf_architectures()) {
    const Family* family = find_family(row.family);
    if (row.limits.sizes_by_layer != by_layer || family == nullptr || row.windows) continue;
    if (family == config.family || has_row(choices, row.name) || windowed(config)) continue;
    if (!same_mathematics(*config.family, *family) || !same_constants(config, *family)) continue;
    ModelConfig other = config;
    other.family = family;
    GgufChoice choice = judged(other, row, true);
    if (choice.legal()) choices.push_back(std::move(choice));
  }
  return choices;
}

}  // namespace prunus
