#include "prunus/pipeline/options.h"

#include <algorithm>

#include "prunus/base/error.h"
#include "prunus/base/named.h"
#include "prunus/pipeline/zero_allocation.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, Structure> kStructures[] = {
    {"block", Structure::Block}, {"channel", Structure::Channel}, {"layer", Structure::Layer},
    {"part", Structure::Part},   {"expert", Structure::Expert},   {"weight", Structure::Weight},
    {"vocab", Structure::Vocab}};
constexpr std::pair<std::string_view, Granularity> kGranularities[] = {
    {"kv-group", Granularity::KvGroup},
    {"query-head", Granularity::QueryHead},
    {"head-dim", Granularity::HeadDim}};

constexpr std::pair<std::string_view, LatencyOf> kLatencies[] = {{"decode", LatencyOf::Decode},
                                                                 {"prefill", LatencyOf::Prefill}};

constexpr std::pair<std::string_view, Members> kMembers[] = {{"all", Members::All},
                                                             {"consumers", Members::Consumers},
                                                             {"inputs", Members::Inputs},
                                                             {"router", Members::Router}};

bool looks_at_weights(const Criterion& criterion) {
  return criterion.needs.weights && !criterion.needs.calibration();
}

bool scores(const Criterion& criterion, Structure structure) {
  switch (structure) {
    case Structure::Layer:
      return criterion.scores_layers();
    case Structure::Part:
      return criterion.needs.removals;
    case Structure::Weight:
      return criterion.element != nullptr;
    default:
      return criterion.scores_slices();
  }
}

std::string methods_that_score(Structure structure) {
  std::string names;
  for (const Method* method : methods::all()) {
    const bool fits = method->structure == structure || method->structure == Structure::Block;
    if (structure == Structure::Weight && !method->sparse_solver.empty()) {
      names += c10::str(names.empty() ? "" : ", ", method->name);
      continue;
    }
    const bool whole = (method->rotates && structure == Structure::Channel) ||
                       (method->collapses && structure == Structure::Layer);
    if (!fits || !(whole || scores(*method->criteria[0], structure))) continue;
    names += c10::str(names.empty() ? "" : ", ", method->name);
  }
  return names;
}

void check_ratio(double ratio, const char* name) {
  PRUNUS_CHECK(ratio >= 0 && ratio < 1, InvalidArgument, name, " ", ratio, " is not in [0, 1)");
}

void check_range(const LayerRange& range, int64_t layers, const char* name) {
  PRUNUS_CHECK(range.begin >= 0 && range.begin < range.end && range.end <= layers, InvalidArgument,
               name, " ", range.begin, ":", range.end, " is not within 0:", layers,
               " (half-open: the end is not included)");
}

// What is asked for and what the method says, where the first is silent.
struct Asked {
  const PruneOptions& options;
  const Method& method;
  const Method& setting;  // the preset, or the method
  const Criterion& criterion;
  const Conventions& conventions;
  Structure structure;
};

Asked asked_by(const PruneOptions& options) {
  const Method& method = find_method(options.method);
  return {options,
          method,
          options.preset.empty() ? method : find_preset(options.preset),
          criterion_of(method, options.taylor),
          find_conventions(options.compat),
          options.structure.value_or(method.structure)};
}

void check_target(const PruneOptions& options) {
  const int targets = int{options.target_params.has_value()} +
                      int{options.target_bytes.has_value()} +
                      int{options.target_latency.has_value()};
  if (targets == 0) return;
  PRUNUS_CHECK(targets == 1, InvalidArgument,
               "--target-params, --target-bytes and --target-latency exclude each other");
  PRUNUS_CHECK(!options.attn_ratio && !options.ffn_ratio, InvalidArgument,
               "a target is reached with one ratio for all: drop --attn-ratio and --ffn-ratio");
}

void check_block_only(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (asked.structure == Structure::Block) return;
  const bool layers = options.layers && asked.structure != Structure::Weight;
  const bool block = options.attn_ratio || options.ffn_ratio || layers || options.attn_layers ||
                     options.ffn_layers || options.global || !options.budget.empty() ||
                     options.granularity != Granularity::KvGroup;
  PRUNUS_CHECK(!block, InvalidArgument,
               "--layers, --attn-*, --ffn-*, --global, --budget and --granularity are for "
               "--structure block");
  PRUNUS_CHECK(asked.setting.preset_of.empty(), InvalidArgument,
               options.preset.empty() ? "--method " : "--preset ", asked.setting.name,
               " is for --structure block");
}

void check_layer_wise(const Asked& asked) {
  const PruneOptions& options = asked.options;
  const bool chosen = options.keep_first || !options.drop_layers.empty();
  if (asked.structure != Structure::Layer) {
    PRUNUS_CHECK(!chosen, InvalidArgument, "--keep-first and --drop-layers need --structure layer");
    return;
  }
  const bool both = options.keep_first && !options.drop_layers.empty();
  const bool finds = asked.criterion.scores_layers() || asked.method.collapses;
  PRUNUS_CHECK((chosen && !both) || finds, InvalidArgument,
               "--structure layer needs --keep-first N or --drop-layers LIST (one of them), or a "
               "--method that scores layers: ",
               methods_that_score(Structure::Layer));
  const bool none = !options.reduction.empty() || options.round_to > 1;
  const bool scored = options.target_params || options.target_bytes || options.steps != 1;
  PRUNUS_CHECK(!none && !(chosen && scored), InvalidArgument,
               "--structure layer drops the layers it is told: no target, steps, rounding or "
               "reduction");
}

void check_part_wise(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (asked.structure != Structure::Part) return;
  const bool other = options.normalisation || !options.reduction.empty() || options.round_to > 1;
  PRUNUS_CHECK(!other, InvalidArgument,
               "--structure part ranks all parts by the loss without them: no normalisation, "
               "rounding or reduction");
}

void check_collapse(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (!asked.method.collapses) return;
  PRUNUS_CHECK(options.steps == 1 && options.precision == at::kFloat, InvalidArgument, "--method ",
               options.method,
               " compares models as they become shorter, in float32: no --steps or --precision");
}

void check_one_by_one(const Asked& asked) {
  PRUNUS_CHECK(!asked.method.one_by_one || asked.options.steps == 1, InvalidArgument, "--method ",
               asked.options.method,
               " takes a step for each layer or part that goes: drop --steps");
}

void check_vocabulary(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (asked.structure != Structure::Vocab) {
    PRUNUS_CHECK(!options.min_count, InvalidArgument,
                 "--min-count removes tokens: it needs --structure vocab");
    return;
  }
  const int given = int{options.ratio.has_value()} + int{options.min_count.has_value()} +
                    int{options.target_params || options.target_bytes};
  PRUNUS_CHECK(given == 1, InvalidArgument,
               "--structure vocab needs to know how many tokens go: give one of --ratio, "
               "--min-count, --target-params and --target-bytes");
  const bool other = options.steps != 1 || !options.reduction.empty() || options.normalisation ||
                     !options.compat.empty();
  PRUNUS_CHECK(!other, InvalidArgument,
               "--structure vocab ranks tokens by how often the text uses them: no steps, "
               "normalisation, reduction or --compat");
}

Pattern pattern_of(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (!options.pattern.empty()) return parse_pattern(options.pattern);
  if (!options.group.empty()) return parse_pattern(options.group);
  return asked.method.group.empty() ? Pattern{} : parse_pattern(asked.method.group);
}

void check_weight_wise(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (asked.structure != Structure::Weight) {
    PRUNUS_CHECK(!options.damping, InvalidArgument,
                 "--damping is of solvers that go with --structure weight");
    PRUNUS_CHECK(!options.sparsity && options.pattern.empty() && options.group.empty(),
                 InvalidArgument,
                 "--sparsity, --pattern and --group set single weights to zero: they need "
                 "--structure weight, with a --method that scores weights: ",
                 methods_that_score(Structure::Weight));
    return;
  }
  PRUNUS_CHECK(options.group.empty() || options.pattern.empty(), InvalidArgument,
               "--pattern says which weights are compared with each other: drop --group");
  const Pattern pattern = pattern_of(asked);
  PRUNUS_CHECK(pattern.counted() || options.group.empty(), InvalidArgument, "--group ",
               options.group, " is a pattern: --pattern ", options.group);
  PRUNUS_CHECK(pattern.counted() || !options.sparsity, InvalidArgument, "--pattern ",
               options.pattern, " says how many weights are zero: drop --sparsity");
  const bool other = options.ratio || options.target_params || options.target_bytes ||
                     options.steps != 1 || options.round_to > 1 || !options.reduction.empty() ||
                     options.normalisation;
  PRUNUS_CHECK(!other, InvalidArgument,
               "--structure weight sets weights to zero and removes none: give --sparsity or "
               "--pattern; no --ratio, target, steps, rounding, normalisation or reduction");
}

void check_compat(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (options.compat.empty()) return;
  const bool units = asked.structure != Structure::Weight && asked.criterion.scores_slices();
  PRUNUS_CHECK(asked.method.members == Members::All && units, InvalidArgument, "--method ",
               options.method,
               " with this --structure is not of the program that --compat llm-pruner follows: "
               "drop --compat");
  PRUNUS_CHECK(options.granularity == Granularity::KvGroup, InvalidArgument,
               "--compat llm-pruner removes whole heads or KV groups: no --granularity");
  PRUNUS_CHECK(!options.normalisation || *options.normalisation == Normalisation::None,
               InvalidArgument, "--compat llm-pruner ranks scores as they are: no --normalize");
  PRUNUS_CHECK(options.budget.empty(), InvalidArgument,
               "--compat llm-pruner has two rankings, local and --global: no --budget");
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
  PRUNUS_CHECK(!looks_at_weights(asked.criterion) || options.reduction.empty() ||
                   options.reduction == asked.conventions.weights_reduction,
               InvalidArgument, "--compat llm-pruner: magnitudes are always reduced by mean");
}

void check_rotation(const Asked& asked) {
  const PruneOptions& options = asked.options;
  PRUNUS_CHECK(asked.structure == Structure::Channel, InvalidArgument, "--method ", options.method,
               " turns the residual stream and makes it narrower: it is for --structure channel");
  const bool other = options.steps != 1 || !options.reduction.empty() || options.normalisation ||
                     !options.compat.empty();
  PRUNUS_CHECK(!other, InvalidArgument, "--method ", options.method,
               " ranks directions by the stream's second moments: no steps, reduction, "
               "normalisation or --compat");
  PRUNUS_CHECK(options.precision == at::kFloat, InvalidArgument, "--method ", options.method,
               " computes in float32, its moments in float64: drop --precision");
}

void check_objective(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (options.objective == Objective::CrossEntropy) return;
  const Needs& needs = asked.criterion.needs;
  const std::string_view name = objective_name(options.objective);
  PRUNUS_CHECK(needs.in(Pass::Backward), InvalidArgument, "--objective ", name,
               " says what is differentiated, but --method ", options.method,
               " looks at no gradients here; llm-pruner does, and shortened-llama --taylor plus");
  PRUNUS_CHECK(options.compat.empty(), InvalidArgument,
               "--compat llm-pruner differentiates the loss of the text: no --objective ", name);
  PRUNUS_CHECK(options.objective != Objective::Divergence || needs.has(stats::squared_gradient),
               InvalidArgument,
               "--objective kl: a model does not diverge from itself, so the mean gradient is 0; "
               "add --taylor param_second, which squares gradients");
}

// What the criterion can score, and the structure asks for.
void check_criterion(const Asked& asked) {
  const std::string& method = asked.options.method;
  if (asked.method.members == Members::Router) {
    PRUNUS_CHECK(asked.structure == Structure::Expert, InvalidArgument, "--method ", method,
                 " scores whole experts of a mixture: add --structure expert, or choose another "
                 "--method for --structure ",
                 structure_name(asked.structure));
    PRUNUS_CHECK(asked.options.reduction.empty(), InvalidArgument, "--method ", method,
                 " scores an expert at once, not tensor by tensor: drop --reduction");
    PRUNUS_CHECK(asked.options.compat.empty(), InvalidArgument, "--method ", method,
                 " is not of the program that --compat llm-pruner follows: drop --compat");
  }
  const bool names_layers = asked.options.keep_first || !asked.options.drop_layers.empty();
  if (names_layers || asked.structure == Structure::Layer) return;  // check_layer_wise
  PRUNUS_CHECK(asked.method.group.empty() || asked.structure == Structure::Weight, InvalidArgument,
               "--method ", method, " sets single weights to zero: it is for --structure weight");
  if (asked.structure == Structure::Vocab) return;  // tokens are counted
  if (asked.method.rotates) return check_rotation(asked);
  const bool solved = asked.structure == Structure::Weight && !asked.method.sparse_solver.empty();
  if (solved) return;  // sparse_solver_of
  PRUNUS_CHECK(scores(asked.criterion, asked.structure), InvalidArgument, "--method ", method,
               " cannot score what --structure ", structure_name(asked.structure),
               " removes; methods that can: ", methods_that_score(asked.structure));
}

LayerRange layers_of(const Asked& asked, int64_t count) {
  if (asked.options.layers) return *asked.options.layers;
  const Method& setting = asked.setting;
  const LayerRange range{setting.skip_first, count - setting.skip_last};
  PRUNUS_CHECK(range.begin < range.end || count == 0, InvalidArgument,
               asked.options.preset.empty() ? "--method " : "--preset ", setting.name,
               " leaves out the first ", setting.skip_first, " and the last ", setting.skip_last,
               " layers, but the model has ", count, "; pass --layers BEGIN:END as well");
  return range;
}

const Budget& budget_of(const Asked& asked) {
  const PruneOptions& options = asked.options;
  PRUNUS_CHECK(options.budget.empty() || !options.global || options.budget == "global",
               InvalidArgument, "--global is --budget global; drop one of the two");
  if (!options.budget.empty()) return find_budget(options.budget);
  const bool ranked = options.global || asked.structure == Structure::Part;
  if (ranked) return find_budget(asked.conventions.global);
  const bool own = !asked.method.budget.empty() && options.compat.empty() &&
                   asked.structure == asked.method.structure;
  return find_budget(own ? asked.method.budget : asked.conventions.uniform);
}

// Of a method for another structure: half.
double sparsity_by_default(const Asked& asked) {
  return asked.method.structure == Structure::Weight ? asked.method.ratio : 0.5;
}

std::string reduction_of(const Asked& asked) {
  if (!asked.options.reduction.empty()) return asked.options.reduction;
  if (!asked.method.reduction.empty()) return std::string(asked.method.reduction);
  return looks_at_weights(asked.criterion) ? std::string(asked.conventions.weights_reduction)
                                           : "sum";
}

bool scores_inputs(const Criterion& criterion) {
  const auto& needs = criterion.needs.statistics;
  return std::all_of(needs.begin(), needs.end(), [](const Statistic* one) {
    return one == nullptr || (one->of == StatisticOf::Input && !one->by_sample);
  });
}

const SparseSolver* sparse_solver_of(const Asked& asked) {
  const PruneOptions& options = asked.options;
  if (asked.structure != Structure::Weight) return nullptr;
  const bool chosen = asked.criterion.element != nullptr;
  const std::string name =
      options.solver.empty() ? std::string(asked.method.sparse_solver) : options.solver;
  if (name.empty() || name == "none") {
    PRUNUS_CHECK(chosen, InvalidArgument, "--method ", options.method,
                 " chooses zeros while it solves: drop --solver none");
    return nullptr;
  }
  const SparseSolver& solver = find_sparse_solver(name);
  PRUNUS_CHECK(chosen || solver.chooses, InvalidArgument, "--solver ", name,
               " updates what another method has chosen; give one that scores weights, such as "
               "--method wanda");
  PRUNUS_CHECK(scores_inputs(asked.criterion), InvalidArgument, "--method ", options.method,
               " scores weights by more than their inputs: it goes with --solver none");
  PRUNUS_CHECK(options.precision != at::kDouble, InvalidArgument, "--solver ", name,
               " works in float32: drop --precision float64");
  return &solver;
}

SparseOptions sparse_options_of(const Asked& asked) {
  const SparseSolver* solver = sparse_solver_of(asked);
  if (solver == nullptr) return {};
  const PruneOptions& given = asked.options;
  SparseOptions options =
      solver->name == asked.method.sparse_solver ? asked.method.sparse_options : solver->options;
  options.ridge = given.ridge.value_or(options.ridge);
  options.damping = given.damping.value_or(options.damping);
  options.residual_correction = given.residual_correction.value_or(options.residual_correction);
  options.token_weights = options.token_weights && given.token_weights;
  PRUNUS_CHECK(solver->takes_cross || options.residual_correction == 0, InvalidArgument,
               "--solver ", solver->name,
               " fits the dense weights on the same input alone: drop --residual-correction");
  return options;
}

const ZeroAllocation* allocation_of(const Asked& asked) {
  const std::string& given = asked.options.allocation;
  if (asked.structure != Structure::Weight) {
    PRUNUS_CHECK(given.empty(), InvalidArgument,
                 "--allocation shares out zeros: it is for --structure weight");
    return nullptr;
  }
  const bool counted = pattern_of(asked).counted();
  const std::string own(counted ? asked.method.allocation : "");
  const std::string name = given.empty() ? own : given;
  const ZeroAllocation* allocation = name.empty() ? nullptr : find_allocation(name);
  if (allocation == nullptr) return nullptr;
  PRUNUS_CHECK(counted, InvalidArgument, "--pattern ", asked.options.pattern,
               " says how many zeros every matrix has: drop --allocation");
  PRUNUS_CHECK(!allocation->measures || sparse_solver_of(asked) != nullptr, InvalidArgument,
               "--allocation ", name, " measures what a solver leaves: give --solver");
  return allocation;
}

SolverOptions solver_options_of(const PruneOptions& given) {
  SolverOptions options;
  options.ridge = given.ridge.value_or(options.ridge);
  options.residual_correction = given.residual_correction.value_or(options.residual_correction);
  options.token_weights = given.token_weights;
  return options;
}

const Solver* solver_of(const Asked& asked) {
  if (asked.structure == Structure::Weight) return nullptr;  // sparse_solver_of
  const std::string& given = asked.options.solver;
  const std::string name = given.empty() ? std::string(asked.method.solver) : given;
  if (name.empty() || name == "none") return nullptr;
  const Solver& solver = find_solver(name);
  const bool cuts_stream =
      asked.structure == Structure::Channel || asked.structure == Structure::Vocab;
  // A method's own is for its own structure.
  if (cuts_stream && given.empty()) return nullptr;
  PRUNUS_CHECK(!cuts_stream, InvalidArgument, "--solver ", name,
               " makes parts of layers give what the dense model's parts give: not with "
               "--structure ",
               structure_name(asked.structure));
  PRUNUS_CHECK(!solver.scales_stream || asked.structure == Structure::Layer, InvalidArgument,
               "--solver ", name, " makes up for layers that go: it is for --structure layer, not ",
               structure_name(asked.structure));
  PRUNUS_CHECK(asked.options.compat.empty(), InvalidArgument,
               "--compat llm-pruner leaves what stays as it is: drop --solver");
  PRUNUS_CHECK(asked.options.precision != at::kDouble, InvalidArgument, "--solver ", name,
               " runs its models in float32 or bfloat16, and solves its equations in float64: not "
               "with --precision float64");
  PRUNUS_CHECK(!solver.scales_stream || asked.options.precision == at::kFloat, InvalidArgument,
               "--solver ", name, " works in float32: drop --precision");
  return &solver;
}

void check_choosing(const PruneRecipe& recipe) {
  if (!recipe.criterion->chooses || recipe.names_layers()) return;
  PRUNUS_CHECK(recipe.structure == Structure::Block, InvalidArgument, "--method ", recipe.name,
               " chooses heads and channels of layers: it is for --structure block");
  PRUNUS_CHECK(!recipe.budget->ranks_sets || recipe.budget->two_stages, InvalidArgument,
               "--method ", recipe.name,
               " chooses the units of each set together: how many go "
               "must be known before, so no --global and no --budget but uniform and two_stage");
}

// Budgets that measure what parts of layers are worth.
void check_search(const PruneRecipe& recipe, const Asked& asked) {
  PRUNUS_CHECK(!recipe.target_latency || recipe.budget->measures, InvalidArgument,
               "--target-latency is met by a search over the levels of every part: add --budget "
               "search, or take --method prunus");
  if (!recipe.budget->measures && !recipe.budget->two_stages) return;
  const std::string name = c10::str("--budget ", recipe.budget->name);
  PRUNUS_CHECK(asked.structure == Structure::Block && recipe.steps == 1 &&
                   recipe.normalisation == Normalisation::None && !asked.options.attn_ratio &&
                   !asked.options.ffn_ratio && recipe.precision != at::kDouble,
               InvalidArgument, name,
               " finds by itself what heads and channels of each layer give: it is for --structure "
               "block, with one --ratio or target, no --steps, --normalize, --attn-ratio, "
               "--ffn-ratio or --precision float64");
  PRUNUS_CHECK(recipe.budget->measures || (!recipe.target_bytes && recipe.precision == at::kFloat),
               InvalidArgument, name,
               " counts parameters, in float32: give --ratio or --target-params, no --precision");
  PRUNUS_CHECK(recipe.granularity == Granularity::KvGroup, InvalidArgument, name,
               " says itself what of attention goes: no --granularity");
}

void check_recipe(const PruneRecipe& recipe, const PruneOptions& given, int64_t layer_count) {
  check_ratio(recipe.ratio, "--ratio");
  check_ratio(recipe.sparsity, "--sparsity");
  check_ratio(recipe.attn_ratio, "--attn-ratio");
  check_ratio(recipe.ffn_ratio, "--ffn-ratio");
  check_range(recipe.attn_layers, layer_count, "--attn-layers");
  check_range(recipe.ffn_layers, layer_count, "--ffn-layers");
  PRUNUS_CHECK(recipe.steps >= 1, InvalidArgument, "--steps ", recipe.steps, ", expected ≥ 1");
  PRUNUS_CHECK(recipe.round_to >= 0, InvalidArgument, "--round-to ", recipe.round_to,
               ", expected ≥ 1");
  const bool global = recipe.budget->ranks_sets;
  PRUNUS_CHECK(!given.normalisation || *given.normalisation == Normalisation::None || global,
               InvalidArgument,
               "--normalize makes sets comparable with each other: it needs --global");
  const bool whole = recipe.attn_layers.begin == 0 && recipe.attn_layers.end == layer_count;
  PRUNUS_CHECK(recipe.granularity != Granularity::HeadDim || (whole && !global), InvalidArgument,
               "--granularity head-dim cuts every layer alike: no layer range, no --global");
  parse_reduction(recipe.reduction);
}

}  // namespace

bool PruneRecipe::measures() const {
  return budget->measures || (allocation != nullptr && allocation->measures);
}

Structure parse_structure(std::string_view name) {
  return parse_named(kStructures, name, "--structure");
}
std::string_view structure_name(Structure structure) { return name_of(kStructures, structure); }
Granularity parse_granularity(std::string_view name) {
  return parse_named(kGranularities, name, "--granularity");
}
std::string_view members_name(Members members) { return name_of(kMembers, members); }
LatencyOf parse_latency(std::string_view name) {
  return parse_named(kLatencies, name, "--latency-of");
}
std::string_view latency_name(LatencyOf latency) { return name_of(kLatencies, latency); }
std::string_view granularity_name(Granularity granularity) {
  return name_of(kGranularities, granularity);
}

PruneRecipe resolve(const PruneOptions& options, int64_t layer_count) {
  const Asked asked = asked_by(options);
  check_criterion(asked);
  check_objective(asked);
  check_block_only(asked);
  check_layer_wise(asked);
  check_part_wise(asked);
  check_one_by_one(asked);
  check_collapse(asked);
  check_weight_wise(asked);
  check_vocabulary(asked);
  check_target(options);
  check_compat(asked);
  const LayerRange layers = layers_of(asked, layer_count);
  check_range(layers, layer_count, "--layers");
  const Budget& budget = budget_of(asked);
  const bool own_budget = options.budget.empty() && !options.global;
  const bool weights = asked.structure == Structure::Weight;
  // What --min-count leaves is not known yet.
  const double ratio =
      weights || options.min_count ? 0 : options.ratio.value_or(asked.setting.ratio);
  const Pattern pattern = pattern_of(asked);
  PruneRecipe recipe{
      .name = options.method,
      .method = &asked.method,
      .criterion = &asked.criterion,
      .objective = options.objective,
      .conventions = &asked.conventions,
      .budget = &budget,
      .structure = asked.structure,
      .granularity = options.granularity,
      .members = asked.method.members,
      .reduction = reduction_of(asked),
      .normalisation = options.normalisation.value_or(
          own_budget && budget.ranks_sets ? asked.method.normalisation : Normalisation::None),
      .ratio = ratio,
      .attn_ratio = options.attn_ratio.value_or(ratio),
      .ffn_ratio = options.ffn_ratio.value_or(ratio),
      .pattern = pattern,
      .sparsity =
          weights ? sparsity_of(pattern, options.sparsity.value_or(sparsity_by_default(asked))) : 0,
      .target_params = options.target_params,
      .target_bytes = options.target_bytes,
      .target_latency = options.target_latency,
      .latency_of = options.latency_of,
      .attn_layers = options.attn_layers.value_or(layers),
      .ffn_layers = options.ffn_layers.value_or(layers),
      .steps = options.steps,
      .round_to = options.round_to,
      .keep_first = options.keep_first,
      .drop_layers = options.drop_layers,
      .min_count = options.min_count,
      .solver = solver_of(asked),
      .solver_options = solver_options_of(options),
      .sparse_solver = sparse_solver_of(asked),
      .sparse_options = sparse_options_of(asked),
      .allocation = allocation_of(asked),
      .seed = options.seed,
      .device = options.device,
      .precision = options.precision};
  check_recipe(recipe, options, layer_count);
  check_search(recipe, asked);
  check_choosing(recipe);
  return recipe;
}

}  // namespace prunus
