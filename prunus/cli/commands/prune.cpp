#include <charconv>
#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/cli/command.h"
#include "prunus/cli/parser.h"
#include "prunus/cli/summary.h"
#include "prunus/pipeline/run.h"

namespace prunus::commands {
namespace {

struct Options {
  PruneJob job;
  CommonOptions common;
  std::string layers, attn_layers, ffn_layers, drop_layers, normalise, precision, structure;
  std::string granularity = "kv-group";
  bool seed_given = false;
  bool json = false;
};

int64_t parse_number(std::string_view text, const std::string& option, const std::string& whole,
                     const char* expected) {
  int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool good = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  PRUNUS_CHECK(good, InvalidArgument, option, " '", whole, "', expected ", expected);
  return number;
}

// "3:31" → half-open range.
std::optional<LayerRange> parse_layers(const std::string& text, const std::string& option) {
  if (text.empty()) return std::nullopt;
  constexpr const char* kExpected = "BEGIN:END such as 3:31";
  const size_t colon = text.find(':');
  PRUNUS_CHECK(colon != text.npos, InvalidArgument, option, " '", text, "', expected ", kExpected);
  const std::string_view whole(text);
  return LayerRange{parse_number(whole.substr(0, colon), option, text, kExpected),
                    parse_number(whole.substr(colon + 1), option, text, kExpected)};
}

// "3,5,9-11" → 3, 5, 9, 10, 11.
std::vector<int64_t> parse_list(const std::string& text, const std::string& option) {
  constexpr const char* kExpected = "layers such as 3,5,9-11";
  constexpr int64_t kMost = 100'000;
  std::vector<int64_t> numbers;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view part = std::string_view(text).substr(at, end - at);
    const size_t dash = part.find('-');
    const int64_t first = parse_number(part.substr(0, dash), option, text, kExpected);
    const int64_t last =
        dash == part.npos ? first : parse_number(part.substr(dash + 1), option, text, kExpected);
    PRUNUS_CHECK(first <= last && last < kMost, InvalidArgument, option, " '", text, "', expected ",
                 kExpected);
    for (int64_t number = first; number <= last; ++number) numbers.push_back(number);
    at = end + 1;
  }
  return numbers;
}

std::string method_help() {
  std::string text = "how importance is judged:";
  for (const Method* method : methods::all()) {
    text += c10::str("\n  ", method->name, ": ", method->summary);
  }
  return text;
}

std::string budget_help() {
  std::string names;
  for (const Budget* budget : budget::all()) {
    if (!budget->follows_program) names += c10::str(names.empty() ? "" : ", ", budget->name);
  }
  return "how much each set gives (default: the method's): " + names +
         "; uniform: the ratio in every set, global: one ranking, global_params: one ranking in "
         "which a unit counts for its weights";
}

void resolve_texts(Options& options) {
  PruneOptions& prune = options.job.options;
  if (!options.structure.empty()) prune.structure = parse_structure(options.structure);
  prune.granularity = parse_granularity(options.granularity);
  prune.layers = parse_layers(options.layers, "--layers");
  prune.attn_layers = parse_layers(options.attn_layers, "--attn-layers");
  prune.ffn_layers = parse_layers(options.ffn_layers, "--ffn-layers");
  prune.drop_layers = parse_list(options.drop_layers, "--drop-layers");
  if (!options.normalise.empty()) prune.normalisation = parse_normalisation(options.normalise);
  if (!prune.compat.empty() && !options.seed_given) prune.seed = 42;
  if (options.precision == "float64") prune.precision = at::kDouble;
}

void run(Options& options) {
  options.job.options.device = start(options.common);
  resolve_texts(options);
  const Json record = run_prune(options.job);
  if (options.json) {
    print_json(record);
  } else {
    print_prune_summary(record);
  }
}

void declare_importance(CLI::App& app, Options& options) {
  PruneOptions& prune = options.job.options;
  const char* group = "Importance";
  app.add_option("--method", prune.method, method_help())->group(group);
  app.add_option("--taylor", prune.taylor,
                 "importance for llm-pruner: param_first (default; |w·g| per weight), vectorize "
                 "(per row and column; less time and memory), param_second (w²·mean squared "
                 "gradient), param_mix (both orders)")
      ->group(group);
  app.add_option(
         "--reduction", prune.reduction,
         "of a group's tensors to one score: sum (default), mean, max, prod, first, second, "
         "last (order: q, k, v, o; gate, up, down)")
      ->group(group);
  app.add_option("--compat", prune.compat,
                 "llm-pruner: make that program's choices, quirks included, so that the same "
                 "weights, text and seed (42 unless given) lose the same channels and heads")
      ->check(one_of({"llm-pruner"}))
      ->group(group);
  app.add_option("--precision", options.precision,
                 "of calibration: float32 (default) or float64 (scores free of rounding; slower)")
      ->check(one_of({"float32", "float64"}))
      ->group(group);
}

void declare_what(CLI::App& app, Options& options) {
  PruneOptions& prune = options.job.options;
  const char* group = "What is removed";
  app.add_option(
         "--structure", options.structure,
         "default: the method's. block: FFN channels and heads of each layer; channel: channels of "
         "the hidden dimension, through the whole model; layer: whole layers; expert: whole "
         "experts of each mixture; weight: single weights, set to zero (nothing gets smaller; "
         "for software that makes use of zeros)")
      ->group(group);
  app.add_option("--granularity", options.granularity,
                 "unit of the attention part. kv-group: a key/value head with its query heads; "
                 "query-head: query heads, as many from each KV group; head-dim: channels inside "
                 "every head (only Prunus can read the result)")
      ->group(group);
  app.add_option("--layers", options.layers,
                 "layers to prune, BEGIN:END, the end not included, e.g. 3:31; default all")
      ->group(group);
  app.add_option("--attn-layers", options.attn_layers, "the same for the attention part only")
      ->group(group);
  app.add_option("--ffn-layers", options.ffn_layers, "the same for the feed-forward part only")
      ->group(group);
  app.add_option("--keep-first", prune.keep_first,
                 "with --structure layer: the first N layers stay")
      ->group(group);
  app.add_option("--drop-layers", options.drop_layers,
                 "with --structure layer: these go, e.g. 3,5,9-11, numbered from 0")
      ->group(group);
}

void declare_how_much(CLI::App& app, Options& options) {
  PruneOptions& prune = options.job.options;
  const char* group = "How much";
  auto* ratio = app.add_option("--ratio", prune.ratio,
                               "fraction of the units (FFN channels, heads, hidden channels, "
                               "experts) to remove, 0 to 1; not the fraction of parameters")
                    ->group(group);
  app.add_option("--attn-ratio", prune.attn_ratio, "the same for the attention part only")
      ->group(group);
  app.add_option("--ffn-ratio", prune.ffn_ratio, "the same for the feed-forward part only")
      ->group(group);
  app.add_option("--sparsity", prune.sparsity,
                 "with --structure weight: fraction of the weights of each row to set to zero, 0 "
                 "to 1 (default 0.5)")
      ->group(group);
  app.add_option("--pattern", prune.pattern,
                 "with --structure weight: where zeros may be. row: anywhere, as many in each row "
                 "(default); N:M, such as 2:4: N of every M weights stay")
      ->group(group);
  auto* params = app.add_option("--target-params", options.job.target_params,
                                "leave at most so many parameters, 0.8x or 5.4B: the ratio is "
                                "solved for and printed before the work begins")
                     ->group(group);
  auto* bytes = app.add_option("--target-bytes", options.job.target_bytes,
                               "leave at most so many bytes of weights, e.g. 4GiB")
                    ->group(group);
  auto* preset =
      app.add_option("--preset", prune.preset,
                     "the paper's settings: llm-pruner-20 (ratio 0.25, without the first "
                     "4 and last 2 layers), llm-pruner-50 (0.6, without 3 and 1)")
          ->group(group);
  ratio->excludes(params)->excludes(bytes)->excludes(preset);
  preset->excludes(params)->excludes(bytes);
  app.add_flag("--global", prune.global,
               "rank all group sets against each other instead of each by itself; every set keeps "
               "one unit at least")
      ->group(group);
  app.add_option("--budget", prune.budget, budget_help())->group(group);
  app.add_option("--normalize", options.normalise,
                 "in a ranking of all sets, what makes scores comparable: none (default), mean or "
                 "max of the set, params (score per parameter removed), standard (less the mean, "
                 "by the standard deviation)")
      ->group(group);
  app.add_option("--steps", prune.steps,
                 "reach the ratio in so many rounds, with fresh text and scores in each")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->group(group);
  app.add_option(
         "--round-to", prune.round_to,
         "keep a multiple of so many channels (of heads: slices), rounding up; default: 1, in "
         "mixtures of experts rows of whole 16 bytes, as stock kernels need")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->group(group);
}

void declare_calibration(CLI::App& app, Options& options) {
  PruneJob& job = options.job;
  const char* group = "Calibration";
  app.add_option(
         "--calib", job.calib_file,
         "calibration text: plain, or JSON lines with a `text` field; also .gz, .zst, a pipe")
      ->group(group);
  app.add_option("--calib-samples", job.calib_samples, "calibration windows")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--calib-tokens", job.calib_tokens, "tokens per window")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 30))
      ->group(group);
  app.add_option("--seed", job.options.seed, "of the windows and of --method random")->group(group);
  app.add_option("--ram", job.ram,
                 "memory for hidden states, e.g. 8GiB; what exceeds it goes to disk (default: half "
                 "of what is free)")
      ->group(group);
  app.add_option("--work-dir", job.work_dir,
                 "where OUT.work is put, for hidden states that spill and for --resume (default: "
                 "beside OUT)")
      ->group(group);
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  PruneJob& job = options->job;
  app.add_option("MODEL", job.model_dir, "Hugging Face model directory")->required();
  app.add_option("--out", job.out_dir, "directory to write; new, or empty")->required();
  declare_how_much(app, *options);
  declare_what(app, *options);
  declare_importance(app, *options);
  declare_calibration(app, *options);
  app.add_flag("--resume", job.resume,
               "go on where an interrupted or killed run of the same command stopped");
  app.add_flag("--dry-run", job.dry_run, "write OUT/plan.json and stop; see `prunus apply`");
  app.add_flag("--force", job.force,
               "replace OUT where it is an earlier result, and the state of an older run");
  app.add_flag("--json", options->json, "print run.json's content to stdout");
  add_common_options(app, options->common);
  add_examples(app, {"prunus prune MODEL --out SMALLER --ratio 0.25 --calib text.txt",
                     "prunus prune MODEL --out SMALLER --target-params 0.8x --calib text.jsonl "
                     "--taylor vectorize",
                     "prunus prune MODEL --out SMALLER --structure layer --drop-layers 21-24",
                     "prunus prune MODEL --out SPARSE --method magnitude --pattern 2:4"});
  CLI::App* parsed = &app;
  return [options, parsed] {
    for (const char* name : {"--ratio", "--method", "--taylor", "--calib", "--preset"}) {
      const bool told = parsed->count("--keep-first") + parsed->count("--drop-layers") > 0;
      PRUNUS_CHECK(!told || parsed->count(name) == 0, InvalidArgument, name,
                   " has no part in --structure layer with --keep-first or --drop-layers, which "
                   "drops the layers it is told");
    }
    options->seed_given = parsed->count("--seed") > 0;
    run(*options);
  };
}

}  // namespace

extern const Command prune{
    "prune", "Remove the least important heads, channels, experts, layers or weights", declare};

}  // namespace prunus::commands
