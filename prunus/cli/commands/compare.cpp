#include <filesystem>
#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/named.h"
#include "prunus/base/run_schema.h"
#include "prunus/cli/command.h"
#include "prunus/cli/compare_table.h"
#include "prunus/cli/output_file.h"
#include "prunus/eval/perplexity.h"
#include "prunus/io/model_place.h"
#include "prunus/job/run_record.h"

namespace prunus::commands {
namespace {

struct Options {
  std::vector<std::string> arguments;
  std::vector<std::string> measures;
  std::string format = "text";
  std::string out;
  bool force = false;
  CommonOptions common;
};

constexpr std::string_view kPerplexity = "ppl=";

enum class Format { Text, Json, Markdown, Csv };
constexpr std::pair<std::string_view, Format> kFormats[] = {{"text", Format::Text},
                                                            {"json", Format::Json},
                                                            {"markdown", Format::Markdown},
                                                            {"csv", Format::Csv}};

// The table as the record of this run.
std::string json_text(const CompareTable& table, RunRecord& record) {
  const Json json = table.json();
  for (const auto& [key, value] : json.items()) record.set(key, value);
  return record.json().dump(2) + "\n";
}

std::string rendered(const CompareTable& table, Format format, RunRecord& record) {
  switch (format) {
    case Format::Text:
      return table.text();
    case Format::Json:
      return json_text(table, record);
    case Format::Markdown:
      return table.markdown();
    case Format::Csv:
      return table.csv();
  }
  return {};
}

// As an evaluation's file, so that it stands in the rows of one.
Json measured(const std::string& asked, const std::string& file, at::Device device) {
  const std::string dir = locate_model(asked).path;
  const Model model = open_model(dir);
  const auto tokenizer = load_tokenizer(dir);
  const EvalText text =
      read_eval_text(file, *tokenizer, std::nullopt, model.config().max_position_embeddings);
  const Perplexity result = score_sequences(model, text.sequences, device);
  Json results = Json::array();
  results.push_back({{"file", file},
                     {"sha256", text.sha256},
                     {"protocol", text.protocol},
                     {"ppl", result.ppl()},
                     {"tokens", result.tokens}});
  return {{"model", asked}, {"results", results}};
}

std::vector<std::string> inputs_of(const Options& options) {
  std::vector<std::string> inputs = options.arguments;
  for (const std::string& measure : options.measures) {
    inputs.push_back(measure.substr(kPerplexity.size()));
  }
  return inputs;
}

void add_measures(CompareTable& table, const Options& options, at::Device device) {
  for (const std::string& measure : options.measures) {
    for (const std::string& argument : options.arguments) {
      if (!std::filesystem::is_directory(locate_model(argument).path)) continue;
      add_record(table, measured(argument, measure.substr(kPerplexity.size()), device), argument,
                 "--measure " + measure);
    }
  }
}

void run(const Options& options) {
  const at::Device device = start(options.common);
  const Format format = parse_named(kFormats, options.format, "--format");
  for (const std::string& measure : options.measures) {
    PRUNUS_CHECK(measure.starts_with(kPerplexity) && measure.size() > kPerplexity.size(),
                 InvalidArgument, "--measure ", measure, ", expected ppl=FILE");
  }
  const OutputFile out{"--out", options.out};
  check_outputs({out}, inputs_of(options), options.force);
  RunRecord record("compare", {{"arguments", options.arguments},
                               {"measure", options.measures},
                               {run_key::kDevice, device.str()}});
  CompareTable table;
  record.stage("read", [&] {
    for (const std::string& argument : options.arguments) add_argument(table, argument);
  });
  record.stage("measure", [&] { add_measures(table, options, device); });
  table.add_shares();
  const std::string text = rendered(table, format, record);
  std::cout << text << std::flush;
  write_output(out, text);
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL_OR_FILE", options->arguments,
                 "models (directories, or the Hub's names of downloaded ones), and files that eval "
                 "--json, bench --out or a run has written; "
                 "what is known of one model stands in one column")
      ->required();
  app.add_option("--measure", options->measures,
                 "ppl=FILE (repeatable): measure this perplexity of each directory now")
      ->allow_extra_args(false);
  app.add_option("--format", options->format, "text, json, markdown or csv");
  app.add_option("--out", options->out, "also write the table to this file");
  app.add_flag("--force", options->force, "replace what stands at --out");
  add_common_options(app, options->common);
  add_examples(app,
               {"prunus compare MODEL SMALLER",
                "prunus compare MODEL SMALLER dense.json smaller.json bench.json --format markdown",
                "prunus compare MODEL SMALLER --measure ppl=valid.txt"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command compare{"compare", "Put what is known of several models into one table",
                             declare};

}  // namespace prunus::commands
