#include "prunus/text/tokenizer.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/base/staged_directory.h"
#include "prunus/cli/command.h"
#include "prunus/job/run_record.h"
#include "prunus/text/dataset.h"
#include "prunus/text/tokenizer_trainer.h"

namespace prunus::commands {
namespace {

struct Options {
  std::vector<std::string> data;
  std::string out_dir;
  TokenizerTrainOptions train;
  CommonOptions common;
  bool join_digits = false;
  bool force = false;
  bool json = false;
};

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

void run(Options& options) {
  start(options.common);
  const Timer timer;
  StagedDirectory out({.path = options.out_dir, .replace = options.force, .inputs = options.data});
  RunRecord record("tokenizer", {{"data", options.data},
                                 {"out", options.out_dir},
                                 {"vocab_size", options.train.vocab_size},
                                 {"character_coverage", options.train.character_coverage},
                                 {"join_digits", options.join_digits},
                                 {"model_max_length", options.train.model_max_length}});
  const auto documents = read_all(options.data);
  options.train.split_digits = !options.join_digits;
  const auto trained = train_tokenizer(documents, options.train, out.staging_path());
  Json result = {
      {"pieces", trained.pieces}, {"characters", trained.characters}, {"learned", trained.learned}};
  result.update(measure(documents, out.staging_path()));
  record.set("tokenizer", result);
  record.write(out.staging_path());
  out.commit();
  result["seconds"] = timer.seconds();
  result["peak_memory_bytes"] = peak_memory_bytes();
  result["out"] = options.out_dir;
  if (options.json) {
    print_json(result);
  } else {
    print_summary(result);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  TokenizerTrainOptions& train = options->train;
  app.add_option("--data", options->data,
                 "text to learn from: plain text, or JSON lines with a `text` field, also .gz and "
                 ".zst; several are read "
                 "one after the other")
      ->required();
  app.add_option("--out", options->out_dir, "directory to write; new, or empty")->required();
  app.add_option("--vocab-size", train.vocab_size,
                 "pieces in all: 3 special ones, 256 bytes, the characters, the rest learned");
  app.add_option("--character-coverage", train.character_coverage,
                 "share of the text's characters that get a piece of their own; the rarest others "
                 "are spelled as bytes");
  app.add_flag("--join-digits", options->join_digits,
               "let several digits share a piece (default: one piece a digit, as in Llama 2)");
  app.add_option("--model-max-length", train.model_max_length,
                 "context length to name in tokenizer_config.json");
  app.add_flag("--force", options->force, "replace OUT where it is an earlier result");
  app.add_flag("--json", options->json, "print the summary as JSON to stdout");
  add_common_options(app, options->common);
  add_examples(app, {"prunus tokenizer --data stories.jsonl --vocab-size 1024 --out tok",
                     "prunus tokenizer --data part1.txt part2.txt --vocab-size 8192 "
                     "--character-coverage 0.9995 --out tok"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command tokenizer{"tokenizer", "Learn a tokenizer from text", declare};

}  // namespace prunus::commands
