#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/stream.h"
#include "prunus/graph/scored_set.h"
#include "prunus/pipeline/reduction.h"

namespace prunus {

/// What kind of thing is removed.
enum class Structure {
  Block,    ///< FFN channels and attention heads, layer by layer
  Channel,  ///< channels of the residual stream, through the whole model
  Layer,    ///< decoder layers
  Expert,   ///< whole feed-forward experts, as many in every layer
};

/// What a unit of the attention part is, in block-wise pruning.
enum class Granularity {
  KvGroup,    ///< a key/value head with its query heads
  QueryHead,  ///< query heads, as many from each KV group; keys and values stay
  HeadDim,    ///< channels inside the heads: rotated pairs of queries and keys, channels of values
};

/// Names as on the command line: block, channel, layer, expert; kv-group, query-head, head-dim.
/// Parsing throws InvalidArgument listing them.
Structure parse_structure(std::string_view name);
std::string_view structure_name(Structure structure);
Granularity parse_granularity(std::string_view name);
std::string_view granularity_name(Granularity granularity);

/// What to remove and by which measure. Every field has the command line's default.
struct PruneOptions {
  std::string method = "llm-pruner";  ///< a name of pipeline/methods/
  /// Variant for llm-pruner: param_first (default), vectorize, param_second, param_mix.
  std::string taylor = {};
  std::string reduction = {};  ///< pipeline/reduction.h; empty: sum (mean for l1, l2 under compat)
  std::string preset = {};     ///< "llm-pruner-20", "llm-pruner-50": ratio and layers of the paper
  Structure structure = Structure::Block;
  Granularity granularity = Granularity::KvGroup;

  /// Fraction of the units of each group set, in [0, 1).
  double ratio = 0.25;
  std::optional<double> attn_ratio = std::nullopt;  ///< instead of `ratio` for heads
  std::optional<double> ffn_ratio = std::nullopt;   ///< instead of `ratio` for FFN channels
  /// Solve for the ratio that leaves at most so much; not together with the ratios.
  std::optional<int64_t> target_params = std::nullopt;
  std::optional<int64_t> target_bytes = std::nullopt;

  std::optional<LayerRange> layers = std::nullopt;       ///< half-open; absent: all
  std::optional<LayerRange> attn_layers = std::nullopt;  ///< instead of `layers` for heads
  std::optional<LayerRange> ffn_layers = std::nullopt;   ///< instead of `layers` for FFN channels

  bool global = false;  ///< one ranking over all group sets, instead of one per set
  Normalisation normalisation = Normalisation::None;  ///< of the global ranking
  int64_t steps = 1;  ///< reach the ratio in so many rounds, scoring anew in each
  /// Keep multiples of so many slices (channels) in each set; 0: any number, but in mixtures of
  /// experts what stock kernels need.
  int64_t round_to = 0;

  std::optional<int64_t> keep_first = std::nullopt;  ///< Structure::Layer: the first N layers stay
  std::vector<int64_t> drop_layers = {};             ///< Structure::Layer: these go

  Compat compat = Compat::None;
  uint64_t seed = 0;
  at::Device device = at::Device(at::kCPU);
  at::ScalarType precision = at::kFloat;  ///< of calibration: Float or Double
  bool resolved = false;                  ///< set by resolve()
};

/// The options with preset, layer ranges and reduction filled in and checked against a model of so
/// many layers: afterwards attn_ratio, ffn_ratio, attn_layers, ffn_layers and reduction have values
/// and `preset` is empty.
/// Throws InvalidArgument for values out of range and for options that exclude each other.
PruneOptions resolve(const PruneOptions& options, int64_t layer_count);

}  // namespace prunus
