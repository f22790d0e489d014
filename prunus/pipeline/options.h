#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/stream.h"
#include "prunus/graph/scored_set.h"
#include "prunus/model/objective.h"
#include "prunus/pipeline/conventions.h"
#include "prunus/pipeline/method.h"
#include "prunus/pipeline/reduction.h"
#include "prunus/solve/pattern.h"
#include "prunus/solve/solver.h"
#include "prunus/solve/sparse_solver.h"

namespace prunus {

struct ZeroAllocation;

/// What a unit of the attention part is, in block-wise pruning.
enum class Granularity {
  KvGroup,    ///< a key/value head with its query heads
  QueryHead,  ///< query heads, as many from each KV group; keys and values stay
  HeadDim,    ///< channels inside the heads: rotated pairs of queries and keys, channels of values
};

/// Whose time a target of time is about.
enum class LatencyOf {
  Decode,   ///< a step of one sequence, behind 32 tokens
  Prefill,  ///< a prompt of 512 tokens
};
LatencyOf parse_latency(std::string_view name);
std::string_view latency_name(LatencyOf latency);

/// Names as on the command line: block, channel, layer, part, expert, weight, vocab; kv-group,
/// query-head, head-dim. Parsing throws InvalidArgument listing them.
Structure parse_structure(std::string_view name);
std::string_view structure_name(Structure structure);
Granularity parse_granularity(std::string_view name);
std::string_view granularity_name(Granularity granularity);
std::string_view members_name(Members members);

/// What to remove and by which measure, as asked for. Every field has the command line's default;
/// what is absent is the method's to say.
struct PruneOptions {
  std::string method = "llm-pruner";  ///< a name of pipeline/methods/
  /// Variant for llm-pruner: param_first (default), vectorize, param_second, param_mix; for
  /// shortened-llama: plus.
  std::string taylor = {};
  /// What gradients are of; Divergence for squared gradients alone (param_second).
  Objective objective = Objective::CrossEntropy;
  std::string reduction = {};  ///< pipeline/reduction.h
  std::string preset = {};     ///< "llm-pruner-20", "llm-pruner-50": ratio and layers of the paper
  std::optional<Structure> structure = std::nullopt;
  Granularity granularity = Granularity::KvGroup;

  /// Fraction of the units of each group set, in [0, 1).
  std::optional<double> ratio = std::nullopt;
  std::optional<double> attn_ratio = std::nullopt;  ///< instead of `ratio` for heads
  std::optional<double> ffn_ratio = std::nullopt;   ///< instead of `ratio` for FFN channels
  /// Structure::Weight: fraction of the weights to set to zero, in [0, 1).
  std::optional<double> sparsity = std::nullopt;
  /// Structure::Weight: where zeros may be, "row" or "N:M" (solve/pattern.h), which says how many.
  std::string pattern = {};
  /// Structure::Weight, instead of a pattern: which weights are compared with each other, "row",
  /// "layer" (of a matrix) or "block:COLUMNS".
  std::string group = {};
  /// Solve for the ratio that leaves at most so much; not together with the ratios.
  std::optional<int64_t> target_params = std::nullopt;
  std::optional<int64_t> target_bytes = std::nullopt;
  /// The same for a share of the dense model's time, in (0, 1): searched for (--budget search).
  std::optional<double> target_latency = std::nullopt;
  LatencyOf latency_of = LatencyOf::Decode;

  std::optional<LayerRange> layers = std::nullopt;       ///< half-open; absent: all
  std::optional<LayerRange> attn_layers = std::nullopt;  ///< instead of `layers` for heads
  std::optional<LayerRange> ffn_layers = std::nullopt;   ///< instead of `layers` for FFN channels

  bool global = false;      ///< one ranking over all group sets, instead of one per set
  std::string budget = {};  ///< a name of budget/; empty: by `global`, or the method's
  std::optional<Normalisation> normalisation = std::nullopt;  ///< of a ranking over sets
  int64_t steps = 1;  ///< reach the ratio in so many rounds, scoring anew in each
  /// Keep multiples of so many slices (channels) in each set; 0: any number, but in mixtures of
  /// experts what stock kernels need.
  int64_t round_to = 0;

  std::optional<int64_t> keep_first = std::nullopt;  ///< Structure::Layer: the first N layers stay
  std::vector<int64_t> drop_layers = {};             ///< Structure::Layer: these go

  /// Structure::Vocab: tokens that the text uses less often go, instead of a ratio or target.
  std::optional<int64_t> min_count = std::nullopt;

  /// Structure::Weight: "uniform" or a name of pipeline/allocations/; empty: the method's.
  std::string allocation = {};

  /// A name of solve/solvers/, with Structure::Weight of solve/sparse_solvers/, or "none"; empty:
  /// the method's.
  std::string solver = {};
  // Of the solver; absent: its own, or the method's.
  std::optional<double> ridge = std::nullopt;
  std::optional<double> damping = std::nullopt;
  std::optional<double> residual_correction = std::nullopt;
  bool token_weights = true;  ///< false: not even where it would

  std::string compat = {};  ///< whose choices to make: pipeline/conventions.h
  uint64_t seed = 0;
  at::Device device = at::Device(at::kCPU);
  at::ScalarType precision = at::kFloat;  ///< of calibration: Float or Double
};

/// The same with every choice made: what the pipeline works by.
struct PruneRecipe {
  std::string name;  ///< of the method, as asked for
  const Method* method = nullptr;
  const Criterion* criterion = nullptr;
  Objective objective = Objective::CrossEntropy;
  const Conventions* conventions = nullptr;
  const Budget* budget = nullptr;
  Structure structure = Structure::Block;
  Granularity granularity = Granularity::KvGroup;
  Members members = Members::All;
  std::string reduction;
  Normalisation normalisation = Normalisation::None;
  double ratio = 0;       ///< of what has no ratio of its own
  double attn_ratio = 0;  ///< of heads
  double ffn_ratio = 0;   ///< of FFN channels
  Pattern pattern;        ///< Structure::Weight: of the zeros
  double sparsity = 0;    ///< Structure::Weight: their share
  std::optional<int64_t> target_params;
  std::optional<int64_t> target_bytes;
  std::optional<double> target_latency;
  LatencyOf latency_of = LatencyOf::Decode;
  LayerRange attn_layers;
  LayerRange ffn_layers;
  int64_t steps = 1;
  int64_t round_to = 0;
  std::optional<int64_t> keep_first;
  std::vector<int64_t> drop_layers;
  std::optional<int64_t> min_count;
  const Solver* solver = nullptr;  ///< null: what stays is left as it is
  SolverOptions solver_options;
  /// Structure::Weight: null: what stays is left as it is.
  const SparseSolver* sparse_solver = nullptr;
  SparseOptions sparse_options;
  const ZeroAllocation* allocation = nullptr;  ///< Structure::Weight: null: as many in all matrices
  uint64_t seed = 0;
  at::Device device = at::Device(at::kCPU);
  at::ScalarType precision = at::kFloat;

  /// Structure::Weight: the solver chooses what stays, not the criterion.
  bool solver_chooses() const { return sparse_solver != nullptr && criterion->element == nullptr; }
  /// Damage is measured, on held-out text.
  bool measures() const;
  bool has_target() const { return target_params || target_bytes || target_latency; }
  /// Structure::Layer where the user says which layers go.
  bool names_layers() const { return keep_first || !drop_layers.empty(); }
};

/// Makes the choices for a model of so many layers: the options, then the method's own, then the
/// conventions'. Throws InvalidArgument for values out of range, for options that exclude each
/// other, and where the method's criterion cannot score the structure.
PruneRecipe resolve(const PruneOptions& options, int64_t layer_count);

}  // namespace prunus
