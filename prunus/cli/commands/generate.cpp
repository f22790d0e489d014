#include "prunus/model/generate.h"

#include <algorithm>
#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/cli/command.h"
#include "prunus/job/job_options.h"
#include "prunus/model/end_tokens.h"
#include "prunus/text/tokenizer.h"

namespace prunus::commands {
namespace {

struct Options {
  std::string model_dir;
  std::string prompt;
  GenerateOptions generate;
  CommonOptions common;
  bool json = false;
};

// Prints the text as it grows. Decoding everything each time keeps characters whole that several
// tokens make up together.
class Printer {
 public:
  Printer(const Tokenizer& tokenizer, std::vector<int64_t> prompt)
      : tokenizer_(tokenizer), ids_(std::move(prompt)) {}
  // The prompt, once the model has taken it: a refused request prints nothing.
  void begin() {
    if (shown_ == 0) show();
  }
  void add(int64_t id) {
    begin();
    ids_.push_back(id);
    show();
  }

 private:
  void show() {
    std::string text = tokenizer_.decode(ids_);
    // An unfinished UTF-8 character decodes to U+FFFD; wait for the rest of it.
    if (text.ends_with("\xEF\xBF\xBD") || text.size() < shown_) return;
    std::cout << text.substr(shown_) << std::flush;
    shown_ = text.size();
  }
  const Tokenizer& tokenizer_;
  std::vector<int64_t> ids_;
  size_t shown_ = 0;
};

// Why the text ends behind `ids`.
const char* reason(const std::vector<int64_t>& ids, const GenerateOptions& options) {
  const auto& stop = options.stop_ids;
  if (std::find(stop.begin(), stop.end(), ids.back()) != stop.end()) return "end_token";
  return static_cast<int64_t>(ids.size()) == options.max_tokens ? "max_tokens" : "context";
}

void run(Options& options) {
  const at::Device device = start(options.common);
  const std::string model_dir = locate_model(options.model_dir).path;
  const Model model = open_model(model_dir);
  const auto tokenizer = load_tokenizer(model_dir);
  std::vector<int64_t> prompt = tokenizer->encode(options.prompt);
  const std::vector<int64_t> prefix = tokenizer->prefix_ids();
  prompt.insert(prompt.begin(), prefix.begin(), prefix.end());
  options.generate.stop_ids = end_tokens(model_dir);
  if (options.generate.stop_ids.empty() && tokenizer->eos_id()) {
    options.generate.stop_ids = {*tokenizer->eos_id()};
  }
  Generator generator(model, device);
  const Timer timer;
  if (!options.json) {
    Printer printer(*tokenizer, prompt);
    generator.generate(prompt, options.generate, [&](int64_t id) { printer.add(id); });
    printer.begin();
    std::cout << std::endl;
    return;
  }
  const std::vector<int64_t> ids = generator.generate(prompt, options.generate);
  const double seconds = timer.seconds();
  std::vector<int64_t> all = prompt;
  all.insert(all.end(), ids.begin(), ids.end());
  print_json({{"text", tokenizer->decode(all)},
              {"prompt_tokens", prompt.size()},
              {"new_ids", ids},
              {"stopped_by", reason(ids, options.generate)},
              {"seconds", seconds},
              {"tokens_per_second", static_cast<double>(ids.size()) / seconds},
              {"peak_memory_bytes", peak_memory_bytes()}});
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  GenerateOptions& generate = options->generate;
  app.add_option("MODEL", options->model_dir, kModelHelp)->required();
  app.add_option("--prompt", options->prompt, "text to continue")->required();
  app.add_option("--max-tokens", generate.max_tokens, "new tokens at most");
  app.footer(
      "Ends at any eos_token_id of generation_config.json, without that file of config.json, "
      "and where\nthe one that counts has none at the tokenizer's EOS. Nothing else of "
      "generation_config.json is\nfollowed: no do_sample, temperature, top_k, top_p, "
      "repetition_penalty, max_length or forced\ntokens; the options above say it all.");
  app.add_option("--temperature", generate.temperature,
                 "0: the likeliest token always; 1: as learned");
  app.add_option("--top-p", generate.top_p, "sample among the likeliest tokens of this total mass");
  app.add_option("--seed", generate.seed, "of the sampling");
  app.add_flag("--json", options->json, "print JSON to stdout");
  add_common_options(app, options->common);
  add_examples(app, {"prunus generate MODEL --prompt \"Once upon a time\"",
                     "prunus generate MODEL --prompt \"The plum\" --max-tokens 200 --temperature "
                     "0.8 --top-p 0.95",
                     "prunus generate MODEL --prompt \"2 + 2 =\" --max-tokens 4 --json"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command generate{"generate", "Continue a text", declare};

}  // namespace prunus::commands
