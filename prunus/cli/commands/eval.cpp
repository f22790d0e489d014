#include <cstdio>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/cli/command.h"
#include "prunus/eval/perplexity.h"

namespace prunus::commands {
namespace {

struct Options {
  std::string model_dir;
  std::vector<std::string> files;
  int64_t seqlen = 0;
  CommonOptions common;
  bool json = false;
};

Json evaluate(const Model& model, const Tokenizer& tokenizer, const std::string& file,
              const Options& options, at::Device device) {
  const Timer timer;
  std::optional<int64_t> seqlen;
  if (options.seqlen > 0) seqlen = options.seqlen;
  const EvalText text =
      read_eval_text(file, tokenizer, seqlen, model.config().max_position_embeddings);
  const Perplexity result = score_sequences(model, text.sequences, device);
  return {{"file", file},
          {"protocol", text.protocol},
          {"ppl", result.ppl()},
          {"tokens", result.tokens},
          {"nll_per_token", result.nll_sum / static_cast<double>(result.tokens)},
          {"nll_sum", result.nll_sum},
          {"sequences", text.sequences.size()},
          {"seconds", timer.seconds()}};
}

void print_table(const Json& results) {
  std::printf("%-14s %10s %12s %9s %8s  %s\n", "protocol", "ppl", "nats/token", "tokens", "seconds",
              "file");
  for (const Json& one : results) {
    std::printf("%-14s %10.4f %12.5f %9lld %8.2f  %s\n",
                one.at("protocol").get<std::string>().c_str(), one.at("ppl").get<double>(),
                one.at("nll_per_token").get<double>(), one.at("tokens").get<long long>(),
                one.at("seconds").get<double>(), one.at("file").get<std::string>().c_str());
  }
}

void run(const Options& options) {
  const at::Device device = start(options.common);
  const Model model = open_model(options.model_dir);
  const auto tokenizer = load_tokenizer(options.model_dir);
  Json results = Json::array();
  for (const std::string& file : options.files) {
    results.push_back(evaluate(model, *tokenizer, file, options, device));
  }
  if (options.json) {
    print_json({{"model", options.model_dir},
                {"parameters", model.parameters()},
                {"results", results},
                {"peak_memory_bytes", peak_memory_bytes()}});
  } else {
    print_table(results);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model_dir, "Hugging Face model directory")->required();
  app.add_option("--ppl", options->files,
                 "text to measure perplexity on (repeatable). Plain text: tokenised once with one "
                 "BOS, cut into chunks of --seqlen, remainder dropped. jsonl: document by document")
      ->required();
  app.add_option("--seqlen", options->seqlen,
                 "tokens per chunk (128) or longest document (the context); perplexities at "
                 "different lengths cannot be compared")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40))
      ->always_capture_default(false);
  app.add_flag("--json", options->json, "print JSON to stdout");
  add_common_options(app, options->common);
  return [options] { run(*options); };
}

}  // namespace

extern const Command eval{"eval", "Measure perplexity", declare};

}  // namespace prunus::commands
