#include <cmath>
#include <filesystem>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/memory.h"
#include "prunus/base/nearest.h"
#include "prunus/base/progress.h"
#include "prunus/base/temporary.h"
#include "prunus/cli/command.h"
#include "prunus/cli/eval_relative.h"
#include "prunus/cli/eval_text.h"
#include "prunus/cli/output_file.h"
#include "prunus/eval/divergence.h"
#include "prunus/eval/protocol.h"
#include "prunus/eval/task_run.h"
#include "prunus/eval/top_k_cache.h"

namespace prunus::commands {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model_dir;
  std::vector<std::string> texts;
  std::string protocol = "paper";
  std::string text_dir;
  int64_t seqlen = 0;
  TaskRunOptions tasks;
  std::string relative_to;
  std::string dense_dir;
  std::string kl_text;
  DivergenceOptions divergence;
  std::string out;
  std::string samples;
  bool resume = false;
  bool force = false;
  CommonOptions common;
  bool json = false;
};

struct Subject {
  const Model& model;
  const Tokenizer& tokenizer;
  at::Device device;
};

// value and standard error under `key`; null for an error that one unit cannot give.
void put(Json& json, const std::string& key, const Estimate& estimate) {
  json[key] = estimate.value;
  json[key + "_stderr"] = estimate.standard_error ? Json(*estimate.standard_error) : Json();
}

ProtocolOptions protocol_of(const Options& options) {
  ProtocolOptions protocol{
      .rule = parse_perplexity_rule(options.protocol), .text_dir = options.text_dir, .seqlen = {}};
  if (options.seqlen > 0) protocol.seqlen = options.seqlen;
  return protocol;
}

// A text and what tells it from others.
struct Text {
  EvalText text;
  Json json;
};

Text read_text(const Subject& subject, const std::string& argument, const Options& options) {
  const ProtocolOptions protocol = protocol_of(options);
  const TextRequest request = parse_text_request(argument);
  EvalText text = make_eval_text(request, protocol, subject.tokenizer,
                                 subject.model.config().max_position_embeddings);
  Json json = {{"file", find_text(request, protocol)},
               {"protocol", text.protocol},
               {"rule", name_of_rule(protocol.rule)},
               {"seqlen", text.seqlen},
               {"text_sha256", text.sha256},
               {"dtype", subject.model.precision() == at::kDouble ? "float64" : "float32"}};
  return {std::move(text), std::move(json)};
}

void put_documents(Json& json, const DocumentPerplexity& documents) {
  put(json, "word_perplexity", exp_of(documents.nll_per_word));
  put(json, "byte_perplexity", exp_of(documents.nll_per_byte));
  Estimate bits = documents.nll_per_byte;
  bits.value /= std::log(2.0);
  if (bits.standard_error) *bits.standard_error /= std::log(2.0);
  put(json, "bits_per_byte", bits);
}

Json perplexity(const Subject& subject, Text of) {
  const Timer timer;
  auto& [text, json] = of;
  const Perplexity result = score_text({subject.model, subject.device}, text);
  const bool documents = !text.documents.empty();
  const DocumentPerplexity counted =
      documents ? document_perplexity(text, result) : DocumentPerplexity();
  const Estimate nll = documents ? counted.nll_per_token : result.nll_per_token();
  put(json, "ppl", exp_of(nll));
  put(json, "nll_per_token", nll);
  json["tokens"] = result.tokens;
  json["nll_sum"] = result.nll_sum;
  json["sequences"] = text.sequences.size();
  if (documents) {
    json["documents"] = text.documents.size();
    put_documents(json, counted);
  }
  json["seconds"] = timer.seconds();
  return std::move(json);
}

Json divergence(const Subject& subject, const Options& options) {
  const Timer timer;
  auto [text, json] = read_text(subject, options.kl_text, options);
  const Model dense = open_model(options.dense_dir);
  DivergenceOptions settings = options.divergence;
  if (!settings.cache.empty()) settings.dense_hash = checkpoint_hash(options.dense_dir);
  const Divergence result =
      measure_divergence({dense, subject.device}, {subject.model, subject.device}, text, settings);
  json["dense"] = options.dense_dir;
  json["tokens"] = result.tokens;
  json["top_k"] = result.top_k;
  json["exact"] = result.exact;
  put(json, "kl_per_token", result.kl);
  put(json, "top1_agreement", result.agreement);
  put(json, "ppl", exp_of(result.model_nll));
  put(json, "dense_ppl", exp_of(result.dense_nll));
  json["cache_reused"] = result.cache_reused;
  json["seconds"] = timer.seconds();
  return json;
}

std::string work_file(const Options& options) { return options.out + ".work"; }

std::vector<std::string> texts_of(const Options& options) {
  std::vector<std::string> texts = options.texts;
  if (!options.kl_text.empty()) texts.push_back(options.kl_text);
  return texts;
}

void check_asked(const Options& options) {
  const bool tasks = !options.tasks.names.empty();
  const bool divergence = !options.dense_dir.empty();
  PRUNUS_CHECK(!options.texts.empty() || tasks || divergence, InvalidArgument,
               "nothing to measure; ask for perplexity (--ppl FILE or --ppl wikitext2@128), tasks "
               "(--tasks all --task-dir DIR) or divergence (--kl-to DENSE --text FILE)");
  PRUNUS_CHECK(tasks == !options.tasks.dir.empty(), InvalidArgument,
               "--tasks and --task-dir, the folder of the tasks' files, go together");
  PRUNUS_CHECK(divergence == !options.kl_text.empty(), InvalidArgument,
               "--kl-to DENSE and --text FILE go together");
  PRUNUS_CHECK(divergence || options.divergence.cache.empty(), InvalidArgument,
               "--kl-cache is for --kl-to");
  PRUNUS_CHECK(!options.resume || !options.out.empty(), InvalidArgument,
               "--resume needs --out: what is finished is kept beside that file");
  parse_perplexity_rule(options.protocol);
}

// Everything that is read; an output must be none of it.
std::vector<std::string> inputs_of(const Options& options) {
  std::vector<std::string> inputs = {options.model_dir};
  for (const std::string& one :
       {options.dense_dir, options.relative_to, options.tasks.dir, options.text_dir}) {
    if (!one.empty()) inputs.push_back(one);
  }
  for (const std::string& text : texts_of(options)) {
    inputs.push_back(find_text(parse_text_request(text), protocol_of(options)));
  }
  return inputs;
}

// What stands is not overwritten, and the state of another run not thrown away, without a word.
void check_out(const Options& options) {
  const OutputFile cache{"--kl-cache", options.divergence.cache};
  check_outputs({{"--out", options.out}, {"--samples", options.samples}}, inputs_of(options),
                options.force);
  check_outputs({{"--out", options.out}, {"--samples", options.samples}, cache}, inputs_of(options),
                true);
  PRUNUS_CHECK(options.samples.empty() || !options.tasks.names.empty(), InvalidArgument,
               "--samples is for --tasks");
}

void check_state(const Options& options) {
  if (options.out.empty() || !fs::exists(work_file(options)) || options.resume) return;
  PRUNUS_CHECK(options.force, InvalidArgument, work_file(options),
               ": is the state of an interrupted run; --resume goes on, --force begins anew");
  fs::remove(work_file(options));
}

// Before hours of tasks, not after them.
void check_texts(const Options& options) {
  for (const std::string& text : texts_of(options)) {
    const std::string path = find_text(parse_text_request(text), protocol_of(options));
    const std::vector<std::string> names = {"wikitext2", "ptb", "c4"};
    PRUNUS_CHECK(fs::exists(path), NotFound, path, ": no such file",
                 did_you_mean(path.substr(0, path.find_first_of("@=")), names));
  }
  const bool scratch = !options.dense_dir.empty() && options.divergence.cache.empty();
  if (scratch) temporary_folder("name a --kl-cache");
  if (!options.divergence.cache.empty()) check_top_k(options.divergence.cache);
}

std::vector<Text> read_texts(const Subject& subject, const Options& options) {
  std::vector<Text> texts;
  for (const std::string& text : options.texts) texts.push_back(read_text(subject, text, options));
  return texts;
}

Json measure_tasks(const Subject& subject, const Options& options, std::string& samples) {
  TaskRunOptions tasks = options.tasks;
  if (!options.out.empty()) tasks.score.journal = work_file(options);
  if (!options.samples.empty()) tasks.samples = &samples;
  const bool cpu = subject.device.is_cpu();
  if (cpu) keep_large_blocks();  // batches of ever other sizes
  Json json = to_json(run_tasks(subject.model, subject.tokenizer, subject.device, tasks));
  if (cpu) return_large_blocks();
  return json;
}

// `samples`: what --samples asks for.
Json measure(const Options& options, at::Device device, std::string& samples) {
  const EarlierEvaluation earlier(options.relative_to);
  const Model model = open_model(options.model_dir);
  const auto tokenizer = load_tokenizer(options.model_dir);
  const Subject subject{model, *tokenizer, device};
  std::vector<Text> texts = read_texts(subject, options);
  Json about = Json::array();
  for (const Text& text : texts) about.push_back(text.json);
  earlier.check(options.tasks, about);
  Json json = {
      {"model", options.model_dir}, {"parameters", model.parameters()}, {"results", Json::array()}};
  // First, since they are what resuming saves.
  if (!options.tasks.names.empty()) json["tasks"] = measure_tasks(subject, options, samples);
  for (Text& text : texts) json["results"].push_back(perplexity(subject, std::move(text)));
  earlier.relate(json);
  if (!options.dense_dir.empty()) json["kl"] = divergence(subject, options);
  json["peak_memory_bytes"] = peak_memory_bytes();
  return json;
}

// The figures; where it stops, what is left for --resume.
Json measured(const Options& options, std::string& samples) {
  try {
    return measure(options, start(options.common), samples);
  } catch (const Error& error) {
    const bool kept = !options.out.empty() && fs::exists(work_file(options));
    const char* nothing = error.kind() == ErrorKind::Interrupted ? "; nothing was written" : "";
    throw Error(error.kind(),
                c10::str(error.what(), kept ? "; what is finished is kept in " : nothing,
                         kept ? work_file(options) : "",
                         kept ? ": the same command with --resume goes on from there" : ""));
  }
}

void run(const Options& options) {
  check_asked(options);
  check_texts(options);
  check_out(options);
  const OutputLock lock({{"--samples", options.samples}, {"--out", options.out}});
  check_state(options);
  std::string samples;
  const Json json = measured(options, samples);
  if (options.json) {
    print_json(json);
  } else {
    print_evaluation(json);
    std::fflush(stdout);
  }
  // Behind the figures, which are not lost where a file cannot be written.
  write_output({"--samples", options.samples}, samples);
  write_output({"--out", options.out}, json.dump(2) + '\n');
  if (!options.out.empty()) fs::remove(work_file(options));
}

void declare_perplexity(CLI::App& app, Options& options) {
  const char* group = "Perplexity";
  app.add_option("--ppl", options.texts,
                 "text to measure perplexity on (repeatable): a file (also .gz, .zst), or "
                 "wikitext2@N, ptb@N, c4@N "
                 "for chunks of N tokens, looked up in --text-dir or given as wikitext2@N=FILE")
      ->group(group);
  app.add_option("--protocol", options.protocol,
                 "paper (one BOS, tokenised once, cut into chunks, remainder dropped; jsonl files "
                 "document by document), llm-pruner (its way to join PTB), or lm-eval-word (whole "
                 "documents in rolling windows: word and byte perplexity)")
      ->group(group);
  app.add_option("--seqlen", options.seqlen,
                 "tokens per chunk (128), or longest document or window (the context); "
                 "perplexities at different lengths cannot be compared")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40))
      ->always_capture_default(false)
      ->group(group);
  app.add_option("--text-dir", options.text_dir, "folder of the texts that have a name")
      ->group(group);
}

void declare_tasks(CLI::App& app, Options& options) {
  const char* group = "Zero-shot tasks";
  app.add_option("--tasks", options.tasks.names,
                 "boolq,piqa,...; all (every task whose file is there); or llm-pruner-table")
      ->delimiter(',')
      ->group(group);
  app.add_option("--task-dir", options.tasks.dir, "folder of the tasks' files")->group(group);
  app.add_option("--max-length", options.tasks.score.max_length,
                 "tasks: ids of context and continuation looked at, the last ones; 0: as many as "
                 "the model's context")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--limit", options.tasks.limit, "only the first items of each task; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--few-shot", options.tasks.few_shot, "examples before each question (the task's)")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--seed", options.tasks.seed, "of the examples")->group(group);
  app.add_option("--samples", options.samples, "write every item's scores as jsonl")->group(group);
  app.add_option("--relative-to", options.relative_to,
                 "JSON of the unpruned model's evaluation: print figures as fractions of its")
      ->group(group);
}

void declare_divergence(CLI::App& app, Options& options) {
  const char* group = "Divergence from the unpruned model";
  app.add_option("--kl-to", options.dense_dir,
                 "the unpruned model: measure KL(it || MODEL) and how often the likeliest token "
                 "is the same")
      ->group(group);
  app.add_option("--text", options.kl_text, "text to measure it on, as for --ppl")->group(group);
  app.add_option("--kl-top-k", options.divergence.top_k,
                 "tokens of its distribution that are told apart; the rest is one bucket")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->group(group);
  app.add_option("--kl-cache", options.divergence.cache,
                 "file to keep its distribution in, for the next model")
      ->group(group);
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model_dir, "Hugging Face model directory")->required();
  declare_perplexity(app, *options);
  declare_tasks(app, *options);
  declare_divergence(app, *options);
  app.add_option("--out", options->out, "write the JSON to this file, too");
  app.add_flag("--resume", options->resume,
               "go on where an interrupted run with this --out stopped");
  app.add_flag("--force", options->force, "replace what stands at --out");
  app.add_flag("--json", options->json, "print JSON to stdout");
  add_common_options(app, options->common);
  add_examples(
      app,
      {"prunus eval MODEL --ppl wikitext2@128 --ppl ptb@128 --text-dir TEXTS",
       "prunus eval SMALLER --tasks llm-pruner-table --task-dir TASKS --relative-to dense.json",
       "prunus eval SMALLER --kl-to MODEL --text valid.txt"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command eval{"eval", "Measure perplexity, zero-shot tasks, divergence", declare};

}  // namespace prunus::commands
