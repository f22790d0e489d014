#include "prunus/pipeline/options.h"

#include <algorithm>

#include "prunus/base/error.h"
#include "prunus/base/named.h"
#include "prunus/pipeline/method.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, Structure> kStructures[] = {{"block", Structure::Block},
                                                                  {"channel", Structure::Channel},
                                                                  {"layer", Structure::Layer},
                                                                  {"expert", Structure::Expert}};
constexpr std::pair<std::string_view, Granularity> kGranularities[] = {
    {"kv-group", Granularity::KvGroup},
    {"query-head", Granularity::QueryHead},
    {"head-dim", Granularity::HeadDim}};

// The paper's experiments (LLaMA, NeurIPS 2023): "20 %" and "50 %" of the parameters.
struct Preset {
  double ratio;
  int64_t skip_first;
  int64_t skip_last;
};
constexpr Preset kLlmPruner20{0.25, 4, 2};
constexpr Preset kLlmPruner50{0.6, 3, 1};
constexpr std::pair<std::string_view, const Preset*> kPresets[] = {
    {"llm-pruner-20", &kLlmPruner20}, {"llm-pruner-50", &kLlmPruner50}};

void apply_preset(PruneOptions& options, int64_t layers) {
  if (options.preset.empty()) return;
  const Preset* preset = parse_named(kPresets, options.preset, "--preset");
  PRUNUS_CHECK(options.structure == Structure::Block, InvalidArgument, "--preset ", options.preset,
               " is for --structure block");
  const LayerRange range{preset->skip_first, layers - preset->skip_last};
  PRUNUS_CHECK(range.begin < range.end || options.layers, InvalidArgument, "--preset ",
               options.preset, " leaves out the first ", preset->skip_first, " and the last ",
               preset->skip_last, " layers, but the model has ", layers,
               "; pass --layers BEGIN:END as well");
  options.ratio = preset->ratio;
  if (!options.layers) options.layers = range;
  options.preset.clear();
}

void check_ratio(double ratio, const char* name) {
  PRUNUS_CHECK(ratio >= 0 && ratio < 1, InvalidArgument, name, " ", ratio, " is not in [0, 1)");
}

void check_range(const LayerRange& range, int64_t layers, const char* name) {
  PRUNUS_CHECK(range.begin >= 0 && range.begin < range.end && range.end <= layers, InvalidArgument,
               name, " ", range.begin, ":", range.end, " is not within 0:", layers,
               " (half-open: the end is not included)");
}

void check_target(const PruneOptions& options) {
  if (!options.target_params && !options.target_bytes) return;
  PRUNUS_CHECK(!(options.target_params && options.target_bytes), InvalidArgument,
               "--target-params and --target-bytes exclude each other");
  PRUNUS_CHECK(!options.attn_ratio && !options.ffn_ratio, InvalidArgument,
               "a target is reached with one ratio for all: drop --attn-ratio and --ffn-ratio");
}

void check_block_only(const PruneOptions& options) {
  if (options.structure == Structure::Block) return;
  const bool block = options.attn_ratio || options.ffn_ratio || options.layers ||
                     options.attn_layers || options.ffn_layers || options.global ||
                     options.granularity != Granularity::KvGroup;
  PRUNUS_CHECK(!block, InvalidArgument,
               "--layers, --attn-*, --ffn-*, --global and --granularity are for --structure block");
}

void check_layer_wise(const PruneOptions& options) {
  const bool chosen = options.keep_first || !options.drop_layers.empty();
  if (options.structure != Structure::Layer) {
    PRUNUS_CHECK(!chosen, InvalidArgument, "--keep-first and --drop-layers need --structure layer");
    return;
  }
  const bool both = options.keep_first && !options.drop_layers.empty();
  PRUNUS_CHECK(chosen && !both, InvalidArgument,
               "--structure layer needs --keep-first N or --drop-layers LIST (one of them)");
  const bool other = options.target_params || options.target_bytes || options.steps != 1 ||
                     options.round_to > 1 || !options.reduction.empty();
  PRUNUS_CHECK(!other, InvalidArgument,
               "--structure layer drops the layers it is told: no target, steps, rounding or "
               "reduction");
}

void check_compat(const PruneOptions& options) {
  if (options.compat == Compat::None) return;
  PRUNUS_CHECK(options.granularity == Granularity::KvGroup, InvalidArgument,
               "--compat llm-pruner removes whole heads or KV groups: no --granularity");
  PRUNUS_CHECK(options.normalisation == Normalisation::None, InvalidArgument,
               "--compat llm-pruner ranks scores as they are: no --normalize");
  PRUNUS_CHECK(!(options.global && options.round_to > 1), InvalidArgument,
               "--compat llm-pruner: rounding under --global would remove the channels of lowest "
               "index, which nobody wants; drop one of --global and --round-to");
  PRUNUS_CHECK(
      !(options.global && (options.target_params || options.target_bytes)), InvalidArgument,
      "--compat llm-pruner --global removes ties together and leaves a set whole that would "
      "lose all, so no ratio can be solved for: no target; give --ratio");
  PRUNUS_CHECK(options.precision == at::kFloat, InvalidArgument,
               "--compat llm-pruner computes in float32");
  PRUNUS_CHECK(options.reduction != "last", InvalidArgument,
               "--compat llm-pruner has no reduction `last`; its paper's last-only is `second` for "
               "heads (o)");
  const bool magnitude = options.method == "l1" || options.method == "l2";
  PRUNUS_CHECK(!magnitude || options.reduction.empty() || options.reduction == "mean",
               InvalidArgument, "--compat llm-pruner: magnitudes are always reduced by mean");
}

// A criterion that looks at experts as a whole has nothing to say of anything else.
void check_expert_output(const PruneOptions& options) {
  const std::string& method = options.method;
  if (criterion_of(find_method(method), options.taylor).needs != Needs::ExpertOutput) return;
  PRUNUS_CHECK(options.structure == Structure::Expert, InvalidArgument, "--method ", method,
               " scores whole experts of a mixture: add --structure expert, or choose another "
               "--method for --structure ",
               structure_name(options.structure));
  PRUNUS_CHECK(options.reduction.empty(), InvalidArgument, "--method ", method,
               " scores an expert at once, not tensor by tensor: drop --reduction");
  PRUNUS_CHECK(options.compat == Compat::None, InvalidArgument, "--method ", method,
               " is not of the program that --compat llm-pruner follows: drop --compat");
}

}  // namespace

Structure parse_structure(std::string_view name) {
  return parse_named(kStructures, name, "--structure");
}
std::string_view structure_name(Structure structure) { return name_of(kStructures, structure); }
Granularity parse_granularity(std::string_view name) {
  return parse_named(kGranularities, name, "--granularity");
}
std::string_view granularity_name(Granularity granularity) {
  return name_of(kGranularities, granularity);
}

PruneOptions resolve(const PruneOptions& given, int64_t layer_count) {
  if (given.resolved) return given;
  PruneOptions options = given;
  check_expert_output(options);
  check_block_only(options);
  check_layer_wise(options);
  check_target(options);
  check_compat(options);
  apply_preset(options, layer_count);
  check_ratio(options.ratio, "--ratio");
  if (!options.attn_ratio) options.attn_ratio = options.ratio;
  if (!options.ffn_ratio) options.ffn_ratio = options.ratio;
  check_ratio(*options.attn_ratio, "--attn-ratio");
  check_ratio(*options.ffn_ratio, "--ffn-ratio");
  const LayerRange all = options.layers.value_or(LayerRange{0, layer_count});
  check_range(all, layer_count, "--layers");
  if (!options.attn_layers) options.attn_layers = all;
  if (!options.ffn_layers) options.ffn_layers = all;
  check_range(*options.attn_layers, layer_count, "--attn-layers");
  check_range(*options.ffn_layers, layer_count, "--ffn-layers");
  PRUNUS_CHECK(options.steps >= 1, InvalidArgument, "--steps ", options.steps, ", expected ≥ 1");
  PRUNUS_CHECK(options.round_to >= 0, InvalidArgument, "--round-to ", options.round_to,
               ", expected ≥ 1");
  PRUNUS_CHECK(options.normalisation == Normalisation::None || options.global, InvalidArgument,
               "--normalize makes sets comparable with each other: it needs --global");
  const bool whole = options.attn_layers->begin == 0 && options.attn_layers->end == layer_count;
  PRUNUS_CHECK(options.granularity != Granularity::HeadDim || (whole && !options.global),
               InvalidArgument,
               "--granularity head-dim cuts every layer alike: no layer range, no --global");
  const bool magnitude = options.method == "l1" || options.method == "l2";
  if (options.reduction.empty()) {
    options.reduction = magnitude && options.compat == Compat::LlmPruner ? "mean" : "sum";
  }
  parse_reduction(options.reduction);
  options.resolved = true;
  return options;
}

}  // namespace prunus
