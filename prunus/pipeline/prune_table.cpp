#include "prunus/pipeline/prune_table.h"

#include <algorithm>
#include <charconv>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/optional_json.h"
#include "prunus/job/job_options.h"
#include "prunus/job/program_options.h"
#include "prunus/pipeline/zero_allocation.h"

namespace prunus {
namespace {

// In which form the result is written, for a job with a member `form`.
#define PRUNUS_FORM_OPTIONS(Job)                                                            \
  {.info = {.key = "form",                                                                  \
            .help = "write it as `prunus export --form` would: stock, shell, remote-code "  \
                    "or deci-lm; of a GGUF file stock, deci, openelm or shell (layers of "  \
                    "different sizes: a form that only Prunus "                             \
                    "reads)",                                                               \
            .recorded = Recorded::Yes},                                                     \
   .member = PRUNUS_MEMBER(Job, form)},                                                     \
  {                                                                                         \
    .info = {.key = "remote-code",                                                          \
             .help = "the same as --form remote-code: modeling_prunus.py beside the model", \
             .excludes = "form",                                                            \
             .recorded = Recorded::No},                                                     \
    .member = FlagMember<Job> {                                                             \
      +[](Job& job, bool on) {                                                              \
        if (on) job.form = "remote-code";                                                   \
      },                                                                                    \
          +[](const Job& job) { return job.form == "remote-code"; }                         \
    }                                                                                       \
  }

using Row = Option<PruneJob, PruneRecipe>;

int64_t parse_number(std::string_view text, const std::string& where, const std::string& whole,
                     const char* expected) {
  int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool good = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  PRUNUS_CHECK(good, InvalidArgument, where, ": got '", whole, "', expected ", expected);
  return number;
}

// "3:31" → half-open range.
LayerRange parse_layers(const std::string& text, const std::string& where) {
  constexpr const char* kExpected = "BEGIN:END such as 3:31";
  const size_t colon = text.find(':');
  PRUNUS_CHECK(colon != text.npos, InvalidArgument, where, ": got '", text, "', expected ",
               kExpected);
  const std::string_view whole(text);
  return {parse_number(whole.substr(0, colon), where, text, kExpected),
          parse_number(whole.substr(colon + 1), where, text, kExpected)};
}

std::string layers_text(const std::optional<LayerRange>& range) {
  return range ? c10::str(range->begin, ":", range->end) : "";
}

// "3,5,9-11" → 3, 5, 9, 10, 11.
std::vector<int64_t> parse_list(const std::string& text, const std::string& where) {
  constexpr const char* kExpected = "layers such as 3,5,9-11";
  constexpr int64_t kMost = 100'000;
  std::vector<int64_t> numbers;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view part = std::string_view(text).substr(at, end - at);
    const size_t dash = part.find('-');
    const int64_t first = parse_number(part.substr(0, dash), where, text, kExpected);
    const int64_t last =
        dash == part.npos ? first : parse_number(part.substr(dash + 1), where, text, kExpected);
    PRUNUS_CHECK(first <= last && last < kMost, InvalidArgument, where, ": got '", text,
                 "', expected ", kExpected);
    for (int64_t number = first; number <= last; ++number) numbers.push_back(number);
    at = end + 1;
  }
  return numbers;
}

std::string list_text(const std::vector<int64_t>& numbers) {
  std::string text;
  for (const int64_t one : numbers) text += (text.empty() ? "" : ",") + std::to_string(one);
  return text;
}

template <typename Part, typename Among>
std::string names_of(std::span<const Part* const> catalogue, Among among) {
  std::string names;
  for (const Part* part : catalogue) {
    if (among(*part)) names += c10::str(names.empty() ? "" : ",", part->name);
  }
  return names;
}

std::string method_names() {
  return names_of(methods::all(), [](const Method&) { return true; });
}
std::string preset_names() {
  return names_of(methods::all(), [](const Method& method) { return !method.preset_of.empty(); });
}
std::string budget_names() {
  return names_of(budget::all(), [](const Budget& one) { return !one.follows_program; });
}

std::string method_help() {
  std::string text;
  for (const Method* method : methods::all()) {
    text += c10::str("\n  ", method->name, ": ", method->summary);
  }
  return text;
}

std::string allocation_names() {
  return "uniform," + names_of(allocations::all(), [](const ZeroAllocation&) { return true; });
}

std::string allocation_help() {
  std::string text;
  for (const ZeroAllocation* one : allocations::all()) {
    text += c10::str("\n  ", one->name, ": ", one->summary);
  }
  return text;
}

std::string solver_names() {
  const auto alone = [](const SparseSolver& one) {
    return std::none_of(solvers::all().begin(), solvers::all().end(),
                        [&](const Solver* other) { return other->name == one.name; });
  };
  return "none," + names_of(solvers::all(), [](const Solver&) { return true; }) + "," +
         names_of(sparse_solvers::all(), alone);
}

std::string solver_help() {
  std::string text;
  for (const Solver* solver : solvers::all()) {
    text += c10::str("\n  ", solver->name, ": ", solver->summary);
  }
  text += "\n  with --structure weight:";
  for (const SparseSolver* solver : sparse_solvers::all()) {
    text += c10::str("\n  ", solver->name, ": ", solver->summary);
  }
  return text;
}

Json solver_name_of(const PruneRecipe& recipe) {
  if (recipe.sparse_solver != nullptr) return recipe.sparse_solver->name;
  return recipe.solver == nullptr ? Json(nullptr) : Json(recipe.solver->name);
}

// What a target is reached with is not known before the scores.
Json ratio_json(const PruneRecipe& recipe, double ratio) {
  return recipe.has_target() ? Json(nullptr) : Json(ratio);
}

// What only --structure weight has.
Json of_zeros(const PruneRecipe& recipe, Json value) {
  return recipe.structure == Structure::Weight ? value : Json(nullptr);
}

Json range_json(const LayerRange& range) { return {range.begin, range.end}; }

// The value of run.json, from the recipe.
#define RESOLVED(expression) \
  +[](const PruneJob&, const PruneRecipe& recipe, Json& value) { value = expression; }

// One text is recorded as a word, as ever.
#define RESOLVED_TEXTS                                            \
  +[](const PruneJob& job, const PruneRecipe&, Json& value) {     \
    if (job.calib_files.size() < 2) value = Json(job.calib_file); \
  }

// A range of layers.
#define LAYERS(path)                                                        \
  WordMember<PruneJob> {                                                    \
    +[](PruneJob& job, const std::string& text, const std::string& where) { \
      job.options.path = parse_layers(text, where);                         \
    },                                                                      \
        +[](const PruneJob& job) { return layers_text(job.options.path); }  \
  }

constexpr const char* kHowMuch = "How much";
constexpr const char* kWhat = "What is removed";
constexpr const char* kImportance = "Importance";
constexpr const char* kCalibration = "Calibration";
constexpr const char* kSolver = "Repair of what stays";

constexpr Row kPruneRows[] = {
    {.info = {.key = "model",
              .help = kModelHelp,
              .positional = "MODEL",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MODEL(PruneJob, model_dir, model_asked)},
    {.info = {.key = "out",
              .help = "directory to write; new, or empty; FILE.gguf for a GGUF file",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(PruneJob, out_dir)},
    PRUNUS_RECIPE_OPTION(PruneJob, "config", "recipe"),

    {.info = {.key = "ratio",
              .group = kHowMuch,
              .help = "fraction of the units (FFN channels, heads, hidden channels, layers, parts, "
                      "experts) to remove, 0 to 1; not the fraction of parameters",
              .range = kShare,
              .excludes = "target-params,target-bytes,preset"},
     .member = PRUNUS_MEMBER(PruneJob, options.ratio),
     .resolved = RESOLVED(ratio_json(recipe, recipe.ratio))},
    {.info = {.key = "attn-ratio",
              .group = kHowMuch,
              .help = "the same for the attention part only",
              .range = kShare},
     .member = PRUNUS_MEMBER(PruneJob, options.attn_ratio),
     .resolved = RESOLVED(ratio_json(recipe, recipe.attn_ratio))},
    {.info = {.key = "ffn-ratio",
              .group = kHowMuch,
              .help = "the same for the feed-forward part only",
              .range = kShare},
     .member = PRUNUS_MEMBER(PruneJob, options.ffn_ratio),
     .resolved = RESOLVED(ratio_json(recipe, recipe.ffn_ratio))},
    {.info = {.key = "sparsity",
              .group = kHowMuch,
              .help = "with --structure weight: fraction of the weights to set to zero, "
                      "0 to 1 (default 0.5)",
              .range = kShare},
     .member = PRUNUS_MEMBER(PruneJob, options.sparsity),
     .resolved = RESOLVED(of_zeros(recipe, recipe.sparsity))},
    {.info = {.key = "pattern",
              .group = kHowMuch,
              .help = "with --structure weight: where zeros may be. N:M, such as 2:4: N of every M "
                      "weights stay; row, layer, block:COLUMNS: as --group",
              .excludes = "group"},
     .member = PRUNUS_MEMBER(PruneJob, options.pattern),
     .resolved = RESOLVED(of_zeros(recipe, pattern_name(recipe.pattern)))},
    {.info = {.key = "group",
              .group = kHowMuch,
              .help = "with --structure weight: which weights are compared with each other, and "
                      "lose --sparsity of them (default: the method's). row: those of a row; "
                      "layer: of a matrix; block:COLUMNS: of so many columns, all rows",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, options.group)},
    {.info = {.key = "allocation",
              .group = kHowMuch,
              .help = "with --structure weight: how many zeros each matrix has (default: the "
                      "method's). uniform: as many in all",
              .more_help = allocation_help,
              .all_choices = allocation_names},
     .member = PRUNUS_MEMBER(PruneJob, options.allocation),
     .resolved = RESOLVED(
         of_zeros(recipe, recipe.allocation == nullptr ? "uniform" : recipe.allocation->name))},
    {.info = {.key = "target-params",
              .group = kHowMuch,
              .help = "leave at most so many parameters, 0.8x or 5.4B: the ratio is solved for and "
                      "printed before the work begins",
              .excludes = "preset",
              .may_be_number = true},
     .member = PRUNUS_MEMBER(PruneJob, target_params),
     .resolved = RESOLVED(or_null(recipe.target_params))},
    {.info = {.key = "target-bytes",
              .group = kHowMuch,
              .help = "leave at most so many bytes of weights, e.g. 4GiB",
              .excludes = "preset",
              .may_be_number = true},
     .member = PRUNUS_MEMBER(PruneJob, target_bytes),
     .resolved = RESOLVED(or_null(recipe.target_bytes))},
    {.info = {.key = "target-latency",
              .group = kHowMuch,
              .help = "with --budget search: take at most this share of MODEL's time, such as "
                      "0.6x, measured on this machine and --device",
              .excludes = "ratio,preset",
              .may_be_number = true},
     .member = PRUNUS_MEMBER(PruneJob, target_latency),
     .resolved = RESOLVED(or_null(recipe.target_latency))},
    {.info = {.key = "latency-of",
              .group = kHowMuch,
              .help = "whose time --target-latency is about: decode, a step of one sequence behind "
                      "32 tokens; prefill, a prompt of 512 tokens",
              .choices = "decode,prefill"},
     .member = PRUNUS_WORD(PruneJob, options.latency_of, parse_latency, latency_name)},
    {.info = {.key = "preset",
              .group = kHowMuch,
              .help = "the paper's settings: llm-pruner-20 (ratio 0.25, without the first 4 and "
                      "last 2 layers), llm-pruner-50 (0.6, without 3 and 1)",
              .all_choices = preset_names,
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, options.preset)},
    {.info = {.key = "global",
              .group = kHowMuch,
              .help = "rank all group sets against each other instead of each by itself; every set "
                      "keeps one unit at least"},
     .member = PRUNUS_MEMBER(PruneJob, options.global),
     .resolved = RESOLVED(recipe.budget->ranks_sets)},
    {.info = {.key = "budget",
              .group = kHowMuch,
              .help = "how much each set gives (default: the method's). uniform: the ratio in "
                      "every set; global: one ranking; global_params: one ranking in which a unit "
                      "counts for its weights; search: what each part of each layer costs is "
                      "measured, the ratio is that of the parameters (minutes); two_stage: "
                      "narrower feed-forward parts, alike in all layers, and whole attention "
                      "parts, the ratio is that of the parameters (2ssp)",
              .all_choices = budget_names},
     .member = PRUNUS_MEMBER(PruneJob, options.budget),
     .resolved = RESOLVED(recipe.budget->name)},
    {.info = {.key = "normalize",
              .group = kHowMuch,
              .help = "in a ranking of all sets, what makes scores comparable: none (default), "
                      "mean or max of the set, params (score per parameter removed), standard "
                      "(less the mean, by the standard deviation)",
              .choices = "none,mean,max,params,standard",
              .record = "normalisation"},
     .member =
         PRUNUS_WORD(PruneJob, options.normalisation, parse_normalisation, normalisation_name),
     .resolved = RESOLVED(normalisation_name(recipe.normalisation))},
    {.info = {.key = "min-count",
              .group = kHowMuch,
              .help = "with --structure vocab: tokens that the text uses less often go, those that "
                      "longer tokens are made of counted with them",
              .range = kPositive,
              .excludes = "ratio,target-params,target-bytes"},
     .member = PRUNUS_MEMBER(PruneJob, options.min_count),
     .resolved = RESOLVED(or_null(recipe.min_count))},
    {.info = {.key = "steps",
              .group = kHowMuch,
              .help = "reach the ratio in so many rounds, with fresh text and scores in each",
              .range = {1, 10'000}},
     .member = PRUNUS_MEMBER(PruneJob, options.steps)},
    {.info = {.key = "round-to",
              .group = kHowMuch,
              .help = "keep a multiple of so many channels (of heads: slices), rounding up; "
                      "default: 1, in mixtures of experts rows of whole 16 bytes, as stock kernels "
                      "need",
              .range = {1, 1 << 20},
              .default_in_help = true},
     .member = PRUNUS_MEMBER(PruneJob, options.round_to)},

    {.info = {.key = "structure",
              .group = kWhat,
              .help = "default: the method's. block: FFN channels and heads of each layer; "
                      "channel: channels of the hidden dimension, through the whole model; layer: "
                      "whole layers; part: attention and feed-forward parts of layers, as a whole; "
                      "expert: whole experts of each mixture; weight: single weights, "
                      "set to zero (nothing gets smaller; for software that makes use of zeros); "
                      "vocab: tokens that the text hardly uses, of embedding, head and tokenizer",
              .choices = "block,channel,layer,part,expert,weight,vocab"},
     .member = PRUNUS_WORD(PruneJob, options.structure, parse_structure, structure_name),
     .resolved = RESOLVED(structure_name(recipe.structure))},
    {.info = {.key = "granularity",
              .group = kWhat,
              .help = "unit of the attention part. kv-group: a key/value head with its query "
                      "heads; query-head: query heads, as many from each KV group; head-dim: "
                      "channels inside every head (only Prunus can read the result)",
              .choices = "kv-group,query-head,head-dim"},
     .member = PRUNUS_WORD(PruneJob, options.granularity, parse_granularity, granularity_name)},
    {.info = {.key = "layers",
              .group = kWhat,
              .help = "layers to prune, BEGIN:END, the end not included, e.g. 3:31; default all",
              .separator = ':',
              .may_be_number = true,
              .recorded = Recorded::No},
     .member = LAYERS(layers)},
    {.info = {.key = "attn-layers",
              .group = kWhat,
              .help = "the same for the attention part only",
              .separator = ':',
              .may_be_number = true},
     .member = LAYERS(attn_layers),
     .resolved = RESOLVED(range_json(recipe.attn_layers))},
    {.info = {.key = "ffn-layers",
              .group = kWhat,
              .help = "the same for the feed-forward part only",
              .separator = ':',
              .may_be_number = true},
     .member = LAYERS(ffn_layers),
     .resolved = RESOLVED(range_json(recipe.ffn_layers))},
    {.info = {.key = "keep-first",
              .group = kWhat,
              .help = "with --structure layer: the first N layers stay"},
     .member = PRUNUS_MEMBER(PruneJob, options.keep_first)},
    {.info = {.key = "drop-layers",
              .group = kWhat,
              .help = "with --structure layer: these go, e.g. 3,5,9-11, numbered from 0",
              .separator = ',',
              .may_be_number = true},
     .member = WordMember<PruneJob>{
         +[](PruneJob& job, const std::string& text, const std::string& where) {
           job.options.drop_layers = parse_list(text, where);
         },
         +[](const PruneJob& job) { return list_text(job.options.drop_layers); }},
     .resolved = RESOLVED(recipe.drop_layers)},

    {.info = {.key = "method",
              .group = kImportance,
              .help = "how importance is judged:",
              .more_help = method_help,
              .all_choices = method_names},
     .member = PRUNUS_MEMBER(PruneJob, options.method)},
    {.info = {.key = "criterion"}, .resolved = RESOLVED(recipe.criterion->name)},
    {.info = {.key = "members"}, .resolved = RESOLVED(members_name(recipe.members))},
    {.info = {.key = "taylor",
              .group = kImportance,
              .help =
                  "importance for llm-pruner: param_first (default; |w·g| per weight), "
                  "vectorize (per row and column; less time and memory), param_second (w²·mean "
                  "squared gradient), param_mix (both orders); for shortened-llama plus (|w·g| of "
                  "a layer instead of the loss without it)",
              .choices = "param_first,vectorize,param_second,param_mix,plus",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, options.taylor)},
    {.info = {.key = "objective",
              .group = kImportance,
              .help = "what gradients are of. ce: the loss of the text's next tokens (default); "
                      "entropy: that of what the model predicts, without labels; kl, with "
                      "--taylor param_second: tokens that the model draws, whose squared gradients "
                      "are the Fisher information",
              .choices = "ce,entropy,kl"},
     .member = PRUNUS_WORD(PruneJob, options.objective, parse_objective, objective_name),
     .resolved = RESOLVED(objective_name(recipe.objective))},
    {.info = {.key = "reduction",
              .group = kImportance,
              .help = "of a group's tensors to one score: sum (default), mean, max, prod, first, "
                      "second, last (order: q, k, v, o; gate, up, down)",
              .choices = "sum,mean,max,prod,first,second,last"},
     .member = PRUNUS_MEMBER(PruneJob, options.reduction),
     .resolved = RESOLVED(recipe.reduction)},
    {.info = {.key = "solver",
              .group = kSolver,
              .help = "how what stays makes up for what goes (default: the method's):\n  none: "
                      "weights stay as they are",
              .more_help = solver_help,
              .all_choices = solver_names},
     .member = PRUNUS_MEMBER(PruneJob, options.solver),
     .resolved = RESOLVED(solver_name_of(recipe))},
    {.info = {.key = "ridge",
              .group = kSolver,
              .help = "how firmly the solver holds weights to what they were: times the mean "
                      "square of each input (default: 0.1; with --structure weight the method's)",
              .range = {.least = 0}},
     .member = PRUNUS_MEMBER(PruneJob, options.ridge),
     .resolved = RESOLVED(recipe.sparse_solver != nullptr ? recipe.sparse_options.ridge
                                                          : recipe.solver_options.ridge)},
    {.info = {.key = "damping",
              .group = kSolver,
              .help = "with --structure weight: what is added to the second moment of each input, "
                      "times their mean (default: 0.01 of sparsegpt, else 0)",
              .range = {.least = 0}},
     .member = PRUNUS_MEMBER(PruneJob, options.damping),
     .resolved = RESOLVED(of_zeros(recipe, recipe.sparse_options.damping))},
    {.info = {.key = "residual-correction",
              .group = kSolver,
              .help = "how much of the error of earlier layers the solver makes up for as well, "
                      "0 to 1 (default: 0.5; with --structure weight the method's)",
              .range = kFraction},
     .member = PRUNUS_MEMBER(PruneJob, options.residual_correction),
     .resolved =
         RESOLVED(recipe.sparse_solver != nullptr ? recipe.sparse_options.residual_correction
                                                  : recipe.solver_options.residual_correction)},
    {.info = {.key = "no-token-weights",
              .group = kSolver,
              .help = "for the solver every token counts alike; else by 1 / mean square of the "
                      "stream, so that massive activations do not decide everything"},
     .member =
         FlagMember<PruneJob>{+[](PruneJob& job, bool on) { job.options.token_weights = !on; },
                              +[](const PruneJob& job) { return !job.options.token_weights; }}},
    {.info = {.key = "compat",
              .group = kImportance,
              .help = "llm-pruner: make that program's choices, quirks included, so that the same "
                      "weights, text and seed (42 unless given) lose the same channels and heads",
              .choices = "llm-pruner"},
     .member = PRUNUS_MEMBER(PruneJob, options.compat),
     .resolved = RESOLVED(recipe.conventions->name)},
    {.info = {.key = "precision",
              .group = kImportance,
              .help =
                  "of calibration's products: float32; bfloat16, faster where the machine "
                  "multiplies it (statistics are float32 all the same); float64 (scores free of "
                  "rounding; slower)",
              .choices = "float32,bfloat16,float64"},
     .member = PRUNUS_WORD(PruneJob, options.precision, parse_precision, name_of_precision)},

    {.info = {.key = "calib",
              .group = kCalibration,
              .help = "calibration text: plain, or JSON lines with a `text` field; also .gz, .zst, "
                      "a pipe; with --structure vocab read whole, and given once for each file",
              .one_argument = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(PruneJob, calib_files),
     .resolved = RESOLVED_TEXTS},
    {.info = {.key = "calib-samples",
              .group = kCalibration,
              .help = "calibration windows (64 for gradients but with --compat and presets, and "
                      "for methods that say so)",
              .range = kPositive},
     .member = PRUNUS_MEMBER(PruneJob, calib_samples)},
    {.info = {.key = "calib-tokens",
              .group = kCalibration,
              .help = "tokens per window (256 for gradients, 1024 for methods that say so)",
              .range = {2, 1 << 30}},
     .member = PRUNUS_MEMBER(PruneJob, calib_tokens)},
    {.info = {.key = "seed",
              .group = kCalibration,
              .help = "of the windows and of --method random"},
     .member = PRUNUS_MEMBER(PruneJob, options.seed)},
    {.info = {.key = "ram",
              .group = kCalibration,
              .help = "memory for hidden states, e.g. 8GiB; what exceeds it goes to disk (default: "
                      "half of what is free)",
              .may_be_number = true,
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, ram)},
    {.info = {.key = "work-dir",
              .group = kCalibration,
              .help = "where OUT.work is put, for hidden states that spill and for --resume "
                      "(default: beside OUT)",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, work_dir)},

    {.info = {.key = "resume",
              .help = "go on where an interrupted or killed run of the same command stopped",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, resume)},
    PRUNUS_FORM_OPTIONS(PruneJob),
    {.info = {.key = "dry-run",
              .help = "write OUT/plan.json, show who would open the result, and stop; see `prunus "
                      "apply`",
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(PruneJob, dry_run)},
    {.info = {.key = "force",
              .help = "replace OUT where it is an earlier result, and the state of an older run",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(PruneJob, force)},
    PRUNUS_DEVICE_OPTION(PruneJob, options.device)};

constexpr Option<ApplyJob> kApplyOptions[] = {
    {.info = {.key = "model",
              .help = kModelHelp,
              .positional = "MODEL",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MODEL(ApplyJob, model_dir, model_asked)},
    {.info = {.key = "plan",
              .help = "plan.json of `prunus prune`, edited or not",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(ApplyJob, plan_file)},
    {.info = {.key = "out",
              .help = "directory to write; new, or empty; FILE.gguf for a GGUF file",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(ApplyJob, out_dir)},
    PRUNUS_RECIPE_OPTION(ApplyJob, "config", "recipe"),
    {.info = {.key = "calib",
              .help = "text of the plan's solver, where it does not lie where the plan says",
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(ApplyJob, calib_file)},
    PRUNUS_FORM_OPTIONS(ApplyJob),
    {.info = {.key = "force",
              .help = "replace OUT where it is an earlier result",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(ApplyJob, force)},
    PRUNUS_DEVICE_OPTION(ApplyJob, device)};

void refuse_what_tokens_do_not_need(const Given& given) {
  if (given.text("structure") != structure_name(Structure::Vocab)) return;
  for (const char* key : {"method", "taylor", "preset", "calib-samples", "calib-tokens", "seed",
                          "resume", "precision", "ridge", "residual-correction"}) {
    const GivenValue* value = given.find(key);
    PRUNUS_CHECK(value == nullptr, InvalidArgument, value->where,
                 " has no part in --structure vocab, which counts the tokens of whole texts");
  }
}

void refuse_what_told_layers_do_not_need(PruneJob&, const Given& given) {
  refuse_what_tokens_do_not_need(given);
  if (!given.has("keep-first") && !given.has("drop-layers")) return;
  for (const char* key : {"ratio", "method", "taylor", "calib", "preset"}) {
    if (key == std::string_view("calib") && given.has("solver")) continue;
    const GivenValue* value = given.find(key);
    PRUNUS_CHECK(value == nullptr, InvalidArgument, value->where,
                 " has no part in --structure layer with --keep-first or --drop-layers, which "
                 "drops the layers it is told");
  }
}

void settle_seed(PruneJob& job, const Given& given) {
  constexpr uint64_t kSeedOfProgram = 42;
  if (!job.options.compat.empty() && !given.has("seed")) job.options.seed = kSeedOfProgram;
}

// As much text as the method is worth giving, where nobody says how much. Published settings keep
// the published amount, which is too little for gradients (docs/methods.md).
void settle_text(PruneJob& job, const Given& given) {
  constexpr int64_t kGradientSamples = 64;
  constexpr int64_t kGradientTokens = 256;
  if (!job.options.compat.empty() || !job.options.preset.empty()) return;
  const Method& method = find_method(job.options.method);
  const bool gradients =
      method.preset_of.empty() && criterion_of(method, job.options.taylor).needs.in(Pass::Backward);
  if (!given.has("calib-samples")) {
    job.calib_samples = gradients ? kGradientSamples : method.calib_samples;
    if (gradients) job.fewest_samples = method.calib_samples;
  }
  if (given.has("calib-tokens")) return;
  job.calib_tokens = gradients ? kGradientTokens : method.calib_tokens;
  job.tokens_by_default = true;
}

// Windows are drawn from one text.
void settle_texts(PruneJob& job) {
  const bool tokens = job.options.structure == Structure::Vocab;
  PRUNUS_CHECK(tokens || job.calib_files.size() < 2, InvalidArgument, "--calib names ",
               job.calib_files.size(),
               " files; windows are drawn from one: join them, or choose --structure vocab");
  if (!job.calib_files.empty()) job.calib_file = job.calib_files[0];
}

void settle(PruneJob& job, const Given& given) {
  settle_texts(job);
  settle_seed(job, given);
  settle_text(job, given);
}

}  // namespace

const OptionTable<PruneJob, PruneRecipe> prune_table{.command = "prune",
                                                     .options = kPruneRows,
                                                     .fresh = +[] { return PruneJob(); },
                                                     .prepare = refuse_what_told_layers_do_not_need,
                                                     .settle = settle,
                                                     .others = kProgramKeys};

const OptionTable<ApplyJob> apply_table{.command = "apply",
                                        .options = kApplyOptions,
                                        .fresh = +[] { return ApplyJob(); },
                                        .others = kProgramKeys};

}  // namespace prunus
