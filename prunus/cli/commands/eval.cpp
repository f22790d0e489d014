#include <cmath>
#include <filesystem>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/cli/command.h"
#include "prunus/cli/eval_text.h"
#include "prunus/eval/divergence.h"
#include "prunus/eval/protocol.h"
#include "prunus/eval/task_run.h"

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

// The text and what tells it from others.
std::pair<EvalText, Json> read_text(const Subject& subject, const std::string& argument,
                                    const Options& options) {
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

Json perplexity(const Subject& subject, const std::string& argument, const Options& options) {
  const Timer timer;
  auto [text, json] = read_text(subject, argument, options);
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
  return json;
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

// Perplexities as fractions of the unpruned model's, where protocol and text are the same.
void put_relative_perplexities(Json& results, const Json& dense) {
  for (Json& ours : results) {
    for (const Json& theirs : dense) {
      if (theirs.value("protocol", Json()) != ours.at("protocol") ||
          theirs.value("text_sha256", Json()) != ours.at("text_sha256")) {
        continue;
      }
      for (const char* key : {"ppl", "word_perplexity", "byte_perplexity"}) {
        const Json below = theirs.value(key, Json());
        if (!ours.contains(key) || !below.is_number() || below.get<double>() == 0) continue;
        ours["relative"][key] = ours.at(key).get<double>() / below.get<double>();
      }
    }
  }
}

std::string work_file(const Options& options) { return options.out + ".work"; }

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

// What stands is not overwritten, and the state of another run not thrown away, without a word.
void check_out(const Options& options) {
  if (options.out.empty()) return;
  const bool exists = fs::exists(options.out);
  PRUNUS_CHECK(!fs::is_directory(options.out), InvalidArgument, "--out ", options.out,
               ": is a directory, expected a file name");
  PRUNUS_CHECK(!exists || options.force, InvalidArgument, "--out ", options.out,
               ": exists; --force replaces it");
  if (!fs::exists(work_file(options)) || options.resume) return;
  PRUNUS_CHECK(options.force, InvalidArgument, work_file(options),
               ": is the state of an interrupted run; --resume goes on, --force begins anew");
  fs::remove(work_file(options));
}

// Before hours of tasks, not after them.
void check_texts(const Options& options) {
  std::vector<std::string> texts = options.texts;
  if (!options.kl_text.empty()) texts.push_back(options.kl_text);
  for (const std::string& text : texts) {
    const std::string path = find_text(parse_text_request(text), protocol_of(options));
    PRUNUS_CHECK(fs::exists(path), NotFound, path, ": no such file");
  }
}

Json measure(const Options& options, at::Device device) {
  const Json dense = options.relative_to.empty() ? Json::object() : read_json(options.relative_to);
  PRUNUS_CHECK(dense.is_object(), Corrupt, options.relative_to,
               ": is not what `prunus eval --json` prints");
  const Model model = open_model(options.model_dir);
  const auto tokenizer = load_tokenizer(options.model_dir);
  const Subject subject{model, *tokenizer, device};
  Json json = {
      {"model", options.model_dir}, {"parameters", model.parameters()}, {"results", Json::array()}};
  if (!options.tasks.names.empty()) {
    // First, since they are what resuming saves.
    TaskRunOptions tasks = options.tasks;
    if (!options.out.empty()) tasks.score.journal = work_file(options);
    json["tasks"] = to_json(run_tasks(model, *tokenizer, device, tasks));
    if (!options.relative_to.empty()) {
      json["relative"] = relative_to(json["tasks"], dense.value("tasks", Json()));
    }
  }
  for (const std::string& text : options.texts) {
    json["results"].push_back(perplexity(subject, text, options));
  }
  if (dense.contains("results")) put_relative_perplexities(json["results"], dense["results"]);
  if (!options.dense_dir.empty()) json["kl"] = divergence(subject, options);
  json["peak_memory_bytes"] = peak_memory_bytes();
  return json;
}

void run(const Options& options) {
  check_asked(options);
  check_texts(options);
  check_out(options);
  const Json json = measure(options, start(options.common));
  if (!options.out.empty()) {
    write_file(options.out, json.dump(2) + '\n');
    fs::remove(work_file(options));
  }
  if (options.json) {
    print_json(json);
  } else {
    print_evaluation(json);
  }
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
  app.add_option("--samples", options.tasks.samples_file, "write every item's scores as jsonl")
      ->group(group);
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
  app.footer(
      "prunus eval MODEL --ppl wikitext2@128 --ppl ptb@128 --text-dir TEXTS\n"
      "prunus eval SMALLER --tasks llm-pruner-table --task-dir TASKS --relative-to dense.json\n"
      "prunus eval SMALLER --kl-to MODEL --text valid.txt");
  return [options] { run(*options); };
}

}  // namespace

extern const Command eval{"eval", "Measure perplexity, zero-shot tasks, divergence", declare};

}  // namespace prunus::commands
