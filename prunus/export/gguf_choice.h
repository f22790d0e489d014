#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/model/gguf_config.h"

namespace prunus {

/// A way to write a model as GGUF: an architecture, and the model's configuration as the family
/// that llama.cpp's graph of that architecture computes.
struct GgufChoice {
  const GgufArchitecture* architecture = nullptr;
  ModelConfig config;
  bool renamed = false;                ///< another family than the model's, of the same mathematics
  std::vector<std::string> obstacles;  ///< why llama.cpp would not compute it; empty: it does

  bool legal() const { return obstacles.empty(); }
};

/// Where an architecture cannot do without a sub-layer that a layer lacks, `config` has a small
/// one, to be filled with zeros (padded() in export/shell.h): 32 feed-forward channels, as
/// llama.cpp's deci skips a layer without them altogether; one head of attention in the first
/// layer, whose heads llama.cpp takes the width of all from.
inline constexpr int64_t kZeroChannels = 32;

/// Every way, best first: the family's own architectures, then those of families whose graph has
/// the same mathematics and a place for every weight (Qwen2 as llama, whose q, k and v have
/// biases). `by_layer`: those for layers of different sizes, or the others.
std::vector<GgufChoice> gguf_choices(const ModelConfig& config, bool by_layer);

}  // namespace prunus
