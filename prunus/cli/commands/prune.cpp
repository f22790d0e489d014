#include <charconv>
#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/cli/command.h"
#include "prunus/cli/summary.h"
#include "prunus/pipeline/run.h"

namespace prunus::commands {
namespace {

struct Options {
  PruneJob job;
  CommonOptions common;
  std::string layers;
  bool json = false;
};

// "3:31" → half-open range.
LayerRange parse_layers(const std::string& text) {
  LayerRange range;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.begin);
  const bool colon = first.ec == std::errc() && first.ptr != end && *first.ptr == ':';
  PRUNUS_CHECK(colon, InvalidArgument, "--layers '", text, "', expected BEGIN:END such as 3:31");
  const auto second = std::from_chars(first.ptr + 1, end, range.end);
  PRUNUS_CHECK(second.ec == std::errc() && second.ptr == end, InvalidArgument, "--layers '", text,
               "', expected BEGIN:END such as 3:31");
  return range;
}

std::string method_help() {
  std::string text = "how importance is judged:";
  for (const Method* method : methods::all()) {
    text += c10::str("\n  ", method->name, ": ", method->summary);
  }
  return text;
}

void run(Options& options) {
  PruneJob& job = options.job;
  job.options.device = start(options.common);
  if (!options.layers.empty()) job.options.layers = parse_layers(options.layers);
  const Json record = run_prune(job);
  if (options.json) {
    print_json(record);
  } else {
    print_prune_summary(record);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  PruneJob& job = options->job;
  app.add_option("MODEL", job.model_dir, "Hugging Face model directory")->required();
  app.add_option("--out", job.out_dir, "directory to write; must not exist yet")->required();
  app.add_option("--method", job.options.method, method_help());
  app.add_option("--ratio", job.options.ratio,
                 "fraction of the FFN channels and of the attention heads (KV groups) to remove in "
                 "each layer, 0 to 1; not the fraction of parameters");
  app.add_option("--taylor", job.options.taylor,
                 "importance for llm-pruner: param_first (default; |w·g| per weight) or vectorize "
                 "(per row and column; less time and memory)");
  app.add_option("--layers", options->layers,
                 "layers to prune, BEGIN:END, the end not included, e.g. 3:31; default all");
  app.add_option("--calib", job.calib_file,
                 "calibration text: plain text, or jsonl with a `text` field");
  app.add_option("--calib-samples", job.calib_samples, "calibration windows")
      ->check(CLI::PositiveNumber);
  app.add_option("--calib-tokens", job.calib_tokens, "tokens per window")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 30));
  app.add_option("--seed", job.options.seed, "of the windows and of --method random");
  app.add_flag("--dry-run", job.dry_run, "write OUT/plan.json and stop; see `prunus apply`");
  app.add_flag("--force", job.force, "replace OUT if it exists");
  app.add_flag("--json", options->json, "print run.json's content to stdout");
  add_common_options(app, options->common);
  return [options] { run(*options); };
}

}  // namespace

extern const Command prune{"prune", "Remove the least important heads and channels", declare};

}  // namespace prunus::commands
