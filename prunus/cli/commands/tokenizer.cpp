#include "prunus/text/tokenizer.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"
#include "prunus/base/staged_directory.h"
#include "prunus/cli/command_line.h"
#include "prunus/job/job_options.h"
#include "prunus/job/run_record.h"
#include "prunus/text/dataset.h"
#include "prunus/text/tokenizer_trainer.h"

namespace prunus::commands {
namespace {

struct TokenizerJob {
  std::vector<std::string> data;
  std::string out_dir;
  TokenizerTrainOptions train;
  bool force = false;
  bool json = false;
  at::Device device = at::kCPU;  // not used: text needs none
};

constexpr Option<TokenizerJob> kOptions[] = {
    {.info = {.key = "data",
              .help = "text to learn from: plain text, or JSON lines with a `text` field, also .gz "
                      "and .zst; several are read one after the other",
              .required = true},
     .member = PRUNUS_MEMBER(TokenizerJob, data)},
    {.info = {.key = "out", .help = "directory to write; new, or empty", .required = true},
     .member = PRUNUS_MEMBER(TokenizerJob, out_dir)},
    {.info = {.key = "vocab-size",
              .help = "pieces in all: 3 special ones, 256 bytes, the characters, the rest learned"},
     .member = PRUNUS_MEMBER(TokenizerJob, train.vocab_size)},
    {.info = {.key = "character-coverage",
              .help = "share of the text's characters that get a piece of their own; the rarest "
                      "others are spelled as bytes"},
     .member = PRUNUS_MEMBER(TokenizerJob, train.character_coverage)},
    {.info = {.key = "join-digits",
              .help = "let several digits share a piece (default: one piece a digit, as in Llama "
                      "2)"},
     .member = FlagMember<TokenizerJob>{
         +[](TokenizerJob& job, bool on) { job.train.split_digits = !on; },
         +[](const TokenizerJob& job) { return !job.train.split_digits; }}},
    {.info = {.key = "model-max-length", .help = "context length to name in tokenizer_config.json"},
     .member = PRUNUS_MEMBER(TokenizerJob, train.model_max_length)},
    {.info = {.key = "force",
              .help = "replace OUT where it is an earlier result",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(TokenizerJob, force)},
    {.info = {.key = "json",
              .help = "print the summary as JSON to stdout",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(TokenizerJob, json)},
    {.info = {.key = "device", .help = kDeviceHelp, .recorded = Recorded::No},
     .member = PRUNUS_DEVICE_MEMBER(TokenizerJob, device)}};

const OptionTable<TokenizerJob> table{
    .command = "tokenizer", .options = kOptions, .fresh = +[] { return TokenizerJob(); }};

std::vector<std::string> read_all(const std::vector<std::string>& paths) {
  std::vector<std::string> documents;
  for (const std::string& path : paths) {
    for (std::string& document : read_documents(path)) documents.push_back(std::move(document));
  }
  return documents;
}

// Bytes and tokens of the training text, by the tokenizer as it was written.
Json measure(const std::vector<std::string>& documents, const std::string& dir) {
  const auto tokenizer = load_tokenizer(dir);
  Progress progress("encoding document", static_cast<int64_t>(documents.size()));
  size_t bytes = 0;
  size_t tokens = 0;
  for (const std::string& document : documents) {
    bytes += document.size();
    tokens += tokenizer->encode(document).size();
    progress.step();
  }
  return {{"documents", documents.size()},
          {"text_bytes", bytes},
          {"tokens", tokens},
          {"bytes_per_token", static_cast<double>(bytes) / static_cast<double>(tokens)}};
}

void print_summary(const Json& result) {
  const auto number = [&](const char* key) { return result.at(key).get<long long>(); };
  std::printf("%-16s %lld: 3 special, 256 bytes, %lld characters, %lld learned\n", "pieces",
              number("pieces"), number("characters"), number("learned"));
  std::printf("%-16s %lld bytes, %lld tokens, %.3f bytes per token\n", "training text",
              number("text_bytes"), number("tokens"), result.at("bytes_per_token").get<double>());
  std::printf("%-16s %.1f s, peak memory %s\n", "took", result.at("seconds").get<double>(),
              human_bytes(number("peak_memory_bytes")).c_str());
  std::printf("%-16s %s\n", "written", result.at("out").get<std::string>().c_str());
}

void run(const TokenizerJob& job) {
  const Timer timer;
  StagedDirectory out({.path = job.out_dir, .replace = job.force, .inputs = job.data});
  RunRecord record("tokenizer", options_json(recorded(table, job)));
  const auto documents = read_all(job.data);
  const auto trained = train_tokenizer(documents, job.train, out.staging_path());
  Json result = {
      {"pieces", trained.pieces}, {"characters", trained.characters}, {"learned", trained.learned}};
  result.update(measure(documents, out.staging_path()));
  record.set("tokenizer", result);
  record.write(out.staging_path());
  out.commit();
  result["seconds"] = timer.seconds();
  result["peak_memory_bytes"] = peak_memory_bytes();
  result["out"] = job.out_dir;
  if (job.json) {
    print_json(result);
  } else {
    print_summary(result);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<TokenizerJob>>(table, app, process_table);
  add_examples(app, {"prunus tokenizer --data stories.jsonl --vocab-size 1024 --out tok",
                     "prunus tokenizer --data part1.txt part2.txt --vocab-size 8192 "
                     "--character-coverage 0.9995 --out tok"});
  return [command] {
    command->begin();
    run(command->job);
  };
}

}  // namespace

extern const Command tokenizer{"tokenizer", "Learn a tokenizer from text", declare};

}  // namespace prunus::commands
