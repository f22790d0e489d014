#include "prunus/model/generate.h"

#include <algorithm>
#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/cli/command_line.h"
#include "prunus/job/job_options.h"
#include "prunus/model/end_tokens.h"
#include "prunus/model/resident_dtype.h"
#include "prunus/text/tokenizer.h"

namespace prunus::commands {
namespace {

struct GenerateJob {
  std::string model_dir;
  std::string model_asked;
  std::string prompt;
  GenerateOptions options;
  ResidentDtype dtype = ResidentDtype::Auto;
  KvDtype kv_dtype = KvDtype::Auto;
  bool json = false;
  at::Device device = at::kCPU;
};

constexpr Option<GenerateJob> kOptions[] = {
    {.info = {.key = "model", .help = kModelHelp, .positional = "MODEL", .required = true},
     .member = PRUNUS_MODEL(GenerateJob, model_dir, model_asked)},
    {.info = {.key = "prompt",
              .help = "text to continue",
              .required = true,
              .may_be_empty = true},  // the model begins by itself
     .member = PRUNUS_MEMBER(GenerateJob, prompt)},
    {.info = {.key = "max-tokens", .help = "new tokens at most"},
     .member = PRUNUS_MEMBER(GenerateJob, options.max_tokens)},
    {.info = {.key = "temperature", .help = "0: the likeliest token always; 1: as learned"},
     .member = PRUNUS_MEMBER(GenerateJob, options.temperature)},
    {.info = {.key = "top-p", .help = "sample among the likeliest tokens of this total mass"},
     .member = PRUNUS_MEMBER(GenerateJob, options.top_p)},
    {.info = {.key = "seed", .help = "of the sampling"},
     .member = PRUNUS_MEMBER(GenerateJob, options.seed)},
    {.info = {.key = "dtype",
              .help = "what weights are held and multiplied in; auto: as stored, GGUF's "
                      "blocks and bitmasks too, but FP32 for float16 on the CPU",
              .choices = "auto,float32,bfloat16,float16,file"},
     .member = PRUNUS_WORD(GenerateJob, dtype, parse_resident_dtype, resident_dtype_name)},
    {.info = {.key = "kv-dtype",
              .help = "what keys and values are cached in; auto: as weights are multiplied",
              .choices = "auto,float32,bfloat16,float16"},
     .member = PRUNUS_WORD(GenerateJob, kv_dtype, parse_kv_dtype, kv_dtype_name)},
    {.info = {.key = "json", .help = "print JSON to stdout"},
     .member = PRUNUS_MEMBER(GenerateJob, json)},
    PRUNUS_DEVICE_OPTION(GenerateJob, device)};

const OptionTable<GenerateJob> table{
    .command = "generate", .options = kOptions, .fresh = +[] { return GenerateJob(); }};

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

// What ends the text: as the model's files say, else the tokenizer's EOS.
std::vector<int64_t> stops(const std::string& model_dir, const Tokenizer& tokenizer) {
  std::vector<int64_t> ids = end_tokens(model_dir);
  if (ids.empty() && tokenizer.eos_id()) ids = {*tokenizer.eos_id()};
  return ids;
}

std::vector<int64_t> prompt_ids(const std::string& prompt, const Tokenizer& tokenizer) {
  std::vector<int64_t> ids = tokenizer.prefix_ids();
  const std::vector<int64_t> text = tokenizer.encode(prompt);
  ids.insert(ids.end(), text.begin(), text.end());
  return ids;
}

void print_as_json(Generator& generator, const std::vector<int64_t>& prompt,
                   const GenerateOptions& options, const Tokenizer& tokenizer) {
  const Timer timer;
  const std::vector<int64_t> ids = generator.generate(prompt, options);
  const double seconds = timer.seconds();
  std::vector<int64_t> all = prompt;
  all.insert(all.end(), ids.begin(), ids.end());
  print_json({{"text", tokenizer.decode(all)},
              {"prompt_tokens", prompt.size()},
              {"new_ids", ids},
              {"stopped_by", reason(ids, options)},
              {"seconds", seconds},
              {"tokens_per_second", static_cast<double>(ids.size()) / seconds},
              {"peak_memory_bytes", peak_memory_bytes()}});
}

void run(GenerateJob& job) {
  const Model model = open_model(job.model_dir);
  const auto tokenizer = load_tokenizer(job.model_dir);
  const std::vector<int64_t> prompt = prompt_ids(job.prompt, *tokenizer);
  job.options.stop_ids = stops(job.model_dir, *tokenizer);
  Generator generator(model, job.device, residence(model, job.dtype, job.kv_dtype, job.device));
  if (job.json) return print_as_json(generator, prompt, job.options, *tokenizer);
  Printer printer(*tokenizer, prompt);
  generator.generate(prompt, job.options, [&](int64_t id) { printer.add(id); });
  printer.begin();
  std::cout << std::endl;
}

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<GenerateJob>>(table, app, process_table);
  add_remark(
      app,
      "Ends at any eos_token_id of generation_config.json, without that file of config.json, "
      "and where\nthe one that counts has none at the tokenizer's EOS. Nothing else of "
      "generation_config.json is\nfollowed: no do_sample, temperature, top_k, top_p, "
      "repetition_penalty, max_length or forced\ntokens; the options above say it all.");
  add_examples(app, {"prunus generate MODEL --prompt \"Once upon a time\"",
                     "prunus generate MODEL --prompt \"The plum\" --max-tokens 200 --temperature "
                     "0.8 --top-p 0.95",
                     "prunus generate MODEL --prompt \"2 + 2 =\" --max-tokens 4 --json"});
  return [command] {
    command->begin();
    run(command->job);
  };
}

}  // namespace

extern const Command generate{"generate", "Continue a text", declare};

}  // namespace prunus::commands
