#include <filesystem>
#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/named.h"
#include "prunus/cli/command_line.h"
#include "prunus/cli/compare_table.h"
#include "prunus/cli/output_file.h"
#include "prunus/eval/perplexity.h"
#include "prunus/job/job_options.h"
#include "prunus/job/run_record.h"

namespace prunus::commands {
namespace {

constexpr std::string_view kPerplexity = "ppl=";

enum class Format { Text, Json, Markdown, Csv };
constexpr std::pair<std::string_view, Format> kFormats[] = {{"text", Format::Text},
                                                            {"json", Format::Json},
                                                            {"markdown", Format::Markdown},
                                                            {"csv", Format::Csv}};

struct CompareJob {
  std::vector<std::string> arguments;
  std::vector<std::string> measures;  // "ppl=FILE"
  Format format = Format::Text;
  std::string out;
  bool force = false;
  at::Device device = at::kCPU;
};

constexpr Option<CompareJob> kOptions[] = {
    {.info = {.key = "arguments",
              .help = "models (directories, or the Hub's names of downloaded ones), and files that "
                      "eval --json, bench --out or a run has written; what is known of one model "
                      "stands in one column",
              .positional = "MODEL_OR_FILE",
              .required = true},
     .member = PRUNUS_MEMBER(CompareJob, arguments)},
    {.info = {.key = "measure",
              .help = "ppl=FILE (repeatable): measure this perplexity of each directory now",
              .one_argument = true},
     .member = PRUNUS_MEMBER(CompareJob, measures)},
    {.info = {.key = "format",
              .help = "text, json, markdown or csv",
              .choices = "text,json,markdown,csv",
              .recorded = Recorded::No},
     .member = WordMember<CompareJob>{
         +[](CompareJob& job, const std::string& text, const std::string& where) {
           job.format = parse_named(kFormats, text, where);
         },
         +[](const CompareJob& job) { return std::string(name_of(kFormats, job.format)); }}},
    {.info = {.key = "out", .help = "also write the table to this file", .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(CompareJob, out)},
    {.info = {.key = "force", .help = "replace what stands at --out", .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(CompareJob, force)},
    PRUNUS_DEVICE_OPTION(CompareJob, device)};

const OptionTable<CompareJob> table{
    .command = "compare", .options = kOptions, .fresh = +[] { return CompareJob(); }};

// The table as the record of this run.
std::string json_text(const CompareTable& compared, RunRecord& record) {
  const Json json = compared.json();
  for (const auto& [key, value] : json.items()) record.set(key, value);
  return record.json().dump(2) + "\n";
}

std::string rendered(const CompareTable& compared, Format format, RunRecord& record) {
  switch (format) {
    case Format::Text:
      return compared.text();
    case Format::Json:
      return json_text(compared, record);
    case Format::Markdown:
      return compared.markdown();
    case Format::Csv:
      return compared.csv();
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

std::vector<std::string> inputs_of(const CompareJob& job) {
  std::vector<std::string> inputs = job.arguments;
  for (const std::string& measure : job.measures) {
    inputs.push_back(measure.substr(kPerplexity.size()));
  }
  return inputs;
}

void add_measures(CompareTable& compared, const CompareJob& job) {
  for (const std::string& measure : job.measures) {
    for (const std::string& argument : job.arguments) {
      if (!std::filesystem::is_directory(locate_model(argument).path)) continue;
      add_record(compared, measured(argument, measure.substr(kPerplexity.size()), job.device),
                 argument, "--measure " + measure);
    }
  }
}

void run(const CompareJob& job) {
  for (const std::string& measure : job.measures) {
    PRUNUS_CHECK(measure.starts_with(kPerplexity) && measure.size() > kPerplexity.size(),
                 InvalidArgument, "--measure ", measure, ", expected ppl=FILE");
  }
  const OutputFile out{"--out", job.out};
  check_outputs({out}, inputs_of(job), job.force);
  RunRecord record("compare", options_json(recorded(table, job)));
  CompareTable compared;
  record.stage("read", [&] {
    for (const std::string& argument : job.arguments) add_argument(compared, argument);
  });
  record.stage("measure", [&] { add_measures(compared, job); });
  compared.add_shares();
  const std::string text = rendered(compared, job.format, record);
  std::cout << text << std::flush;
  write_output(out, text);
}

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<CompareJob>>(table, app, process_table);
  add_examples(app,
               {"prunus compare MODEL SMALLER",
                "prunus compare MODEL SMALLER dense.json smaller.json bench.json --format markdown",
                "prunus compare MODEL SMALLER --measure ppl=valid.txt"});
  return [command] {
    command->begin();
    run(command->job);
  };
}

}  // namespace

extern const Command compare{"compare", "Put what is known of several models into one table",
                             declare};

}  // namespace prunus::commands
