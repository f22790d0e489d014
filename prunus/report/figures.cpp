#include "prunus/report/figures.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/run_schema.h"
#include "prunus/base/whole_number.h"

namespace prunus {
namespace {

using Group = FigureGroup;
using Style = FigureStyle;
using namespace run_key;

constexpr std::string_view kBenchFormat = "prunus-bench";  // of bench before it wrote run.json
constexpr size_t kDigits = 12;                             // of a hash, to tell texts apart

// A number or a word; anything else was not written by Prunus.
FigureValue value_of(const Json& json) {
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  return json.get<std::string>();
}

/// Gathers figures of one model from one record.
class Adder {
 public:
  explicit Adder(std::string source) : source_(std::move(source)) {}

  void add(Group group, const std::string& name, Style style, const Json& value) {
    if (!value.is_null()) figures_.push_back({group, name, style, value_of(value)});
  }
  /// The member `key`, where there is one.
  void add(Group group, const std::string& name, Style style, const Json& from, const char* key) {
    if (from.contains(key)) add(group, name, style, from.at(key));
  }
  const std::string& source() const { return source_; }
  std::vector<Figure>& figures() { return figures_; }

 private:
  std::string source_;
  std::vector<Figure> figures_;
};

// ", 5120 tokens" where the member is there.
std::string counted(const Json& from, const char* key, const char* unit) {
  return from.contains(key) ? c10::str(", ", from.at(key).dump(), unit) : "";
}

// Which text a figure is about: its name and hash, or the whole path where there is no hash.
std::string text_of(const Json& result) {
  for (const char* key : {"sha256", "text_sha256", "file_sha256"}) {
    if (!result.contains(key) || !result.at(key).is_string()) continue;
    const auto file = result.value(kFile, std::string());
    return c10::str(std::filesystem::path(file).filename().string(), ", sha256 ",
                    result.at(key).get<std::string>().substr(0, kDigits));
  }
  return result.value(kFile, std::string("?"));
}

void add_perplexity(Adder& adder, const Json& result) {
  const std::string conditions =
      c10::str(" ", result.at("protocol").get<std::string>(), " ", text_of(result),
               counted(result, "seqlen", " per sequence"), counted(result, "tokens", " tokens"),
               result.contains("dtype") ? ", " + result.at("dtype").get<std::string>() : "");
  for (const char* key :
       {"ppl", "word_ppl", "byte_ppl", "word_perplexity", "byte_perplexity", "bits_per_byte"}) {
    adder.add(Group::Perplexity, key + conditions, Style::Four, result, key);
  }
}

void add_task(Adder& adder, const std::string& name, const Json& task) {
  std::string conditions = counted(task, "items", " items") + counted(task, "few_shot", "-shot");
  if (task.contains("file_sha256")) conditions += ", " + text_of(task);
  for (const char* key : {"acc", "acc_norm"}) {
    adder.add(Group::Task, c10::str(name, " ", key, conditions), Style::Percent, task, key);
  }
  adder.add(Group::Task, name + " perplexity" + conditions, Style::Four, task, "perplexity");
}

// A preset's table: the metric of each task and their mean. Its figures depend on the items of all
// its tasks, which a hash in the row's name stands for.
void add_preset(Adder& adder, const std::string& name, const Json& preset, const Json& tasks) {
  int64_t items = 0;
  std::string conditions;
  for (const auto& [task, figures] : tasks.items()) {
    if (!figures.is_object() || !preset.contains(task)) continue;
    const std::string where = adder.source() + ": " + task;
    const int64_t of_task = whole_number(figures, "items", where, 0);
    items += of_task;
    conditions += c10::str(task, " ", of_task, " ", whole_number(figures, "few_shot", where, 0),
                           " ", figures.value("file_sha256", std::string("-")), "\n");
  }
  const std::string digest = sha256(conditions).substr(0, kDigits);
  for (const auto& [key, value] : preset.items()) {
    if (!value.is_number()) continue;
    adder.add(Group::Task, c10::str(name, " ", key, ", ", items, " items, tasks ", digest),
              Style::Percent, value);
  }
}

// Words and whole numbers (the dense model, the text, tokens, top_k) are conditions; fractions are
// figures.
void add_divergence(Adder& adder, const Json& kl) {
  std::string conditions;
  for (const auto& [key, value] : kl.items()) {
    if (value.is_number_integer()) conditions += c10::str(", ", key, " ", value.dump());
    if (!value.is_string()) continue;
    const auto word = value.get<std::string>();
    const bool hash = key.ends_with("sha256");
    conditions += c10::str(", ", key, " ", hash ? word.substr(0, kDigits) : word);
  }
  for (const auto& [key, value] : kl.items()) {
    const Json figure = value.is_object() ? value.value("value", Json()) : value;
    if (!figure.is_number_float() || key == kSeconds) continue;
    adder.add(Group::Divergence, c10::str("kl ", key, conditions), Style::Four, figure);
  }
}

void add_sizes(Adder& adder, const Json& sizes) {
  adder.add(Group::Size, "parameters", Style::Count, sizes, kParameters);
  adder.add(Group::Size, "bytes of weights", Style::Bytes, sizes, kBytes);
  adder.add(Group::Compute, "MACs, 64 tokens", Style::Operations, sizes, kMacs);
}

std::vector<Figure> case_figures(const Json& setting, const std::string& machine,
                                 const std::string& source) {
  const std::string prompt = c10::str(", batch ", whole_number(setting, "batch", source),
                                      ", prompt ", whole_number(setting, "prompt_tokens", source));
  const auto median = [&](const char* name, const std::string& more, const char* key) {
    return Figure{Group::Speed, name + prompt + more + machine, Style::Two,
                  value_of(setting.at(key).at("median"))};
  };
  return {median("prefill tokens/s", "", "prefill_tokens_per_second"),
          median("first token ms", "", "first_token_ms"),
          median("decode tokens/s", counted(setting, "new_tokens", " new"),
                 "decode_tokens_per_second")};
}

std::vector<Figure> speed_figures(const Json& bench, const Json& model, const std::string& source) {
  const std::string machine = c10::str(" (", bench.at(kDevice).get<std::string>(), ", ",
                                       whole_number(bench, kThreads, source), " threads, ",
                                       model.at("resident_dtype").get<std::string>(), ")");
  std::vector<Figure> figures;
  for (const Json& setting : model.at(kCases)) {
    for (Figure& one : case_figures(setting, machine, source)) figures.push_back(std::move(one));
  }
  // Of two models the peak is that of both.
  if (bench.at(kModels).size() == 1 && bench.contains(kPeakMemoryBytes)) {
    figures.push_back({Group::Speed, "peak memory of bench" + machine, Style::Bytes,
                       value_of(bench.at(kPeakMemoryBytes))});
  }
  return figures;
}

std::vector<ModelFigures> of_bench(const Json& bench, const std::string& source) {
  std::vector<ModelFigures> list;
  for (const Json& model : bench.at(kModels)) {
    Adder adder(source);
    add_sizes(adder, model);
    for (Figure& one : speed_figures(bench, model, source)) {
      adder.figures().push_back(std::move(one));
    }
    list.push_back({model.at(kModel).get<std::string>(), std::move(adder.figures())});
  }
  return list;
}

std::vector<ModelFigures> of_evaluation(const Json& evaluation, const std::string& source) {
  Adder adder(source);
  add_sizes(adder, evaluation);
  for (const Json& one : evaluation.value(kResults, Json::array())) add_perplexity(adder, one);
  const Json tasks = evaluation.value(kTasks, Json::object());
  for (const auto& [name, task] : tasks.items()) {
    if (task.contains("acc")) {
      add_task(adder, name, task);
    } else if (task.is_object()) {
      add_preset(adder, name, task, tasks);
    }
  }
  if (evaluation.contains(kKl)) add_divergence(adder, evaluation.at(kKl));
  return {{evaluation.at(kModel).get<std::string>(), std::move(adder.figures())}};
}

std::vector<ModelFigures> of_inspection(const Json& report, const std::string& source) {
  Adder adder(source);
  add_sizes(adder, report);
  return {{report.at(kModel).get<std::string>(), std::move(adder.figures())}};
}

// "prune l2", "recover lora", "train".
std::string origin(const Json& run) {
  const Json options = run.value(kOptions, Json::object());
  const auto command = run.at(kCommand).get<std::string>();
  const char* key = command == "prune" ? "method" : "mode";
  return options.contains(key) ? command + " " + options.at(key).get<std::string>() : command;
}

void add_losses(Adder& adder, const Json& run) {
  std::string data;
  if (run.contains(kData) && run.at(kData).contains(kSha256)) {
    data = ", data " + run.at(kData).at(kSha256).get<std::string>().substr(0, kDigits);
  }
  const auto add = [&](const char* name, const Json& from, const char* key) {
    adder.add(Group::Recovery, name + data, Style::Four, from, key);
  };
  if (run.contains(kTraining)) {
    add("validation loss before", run.at(kTraining), kValidLossBefore);
    add("validation loss after", run.at(kTraining), kValidLoss);
  } else {
    add("validation loss before", run, kValidLossBefore);
    add("validation loss after", run, kValidLossWritten);
  }
}

// Of a run that makes a model.
std::vector<ModelFigures> of_making(const Json& run, const std::string& model,
                                    const std::string& source) {
  Adder adder(source);
  adder.add(Group::Origin, "made by", Style::Word, origin(run));
  if (run.contains(kResult)) add_sizes(adder, run.at(kResult));
  adder.add(Group::Size, "parameters removed by the run", Style::Percent, run, kParametersRemoved);
  add_losses(adder, run);
  return {{model, std::move(adder.figures())}};
}

std::vector<ModelFigures> of_run(const Json& run, const std::string& model,
                                 const std::string& source) {
  const int64_t version = whole_number(run, kVersion, source, kRunVersion);
  PRUNUS_CHECK(version <= kRunVersion, Corrupt, source, ": version is ", version, ", expected ",
               kRunVersion, "; a later prunus wrote it");
  const auto command = run.at(kCommand).get<std::string>();
  if (command == "eval") return of_evaluation(run, source);
  if (command == "bench") return of_bench(run, source);
  if (command == "inspect") return of_inspection(run, source);
  PRUNUS_CHECK(command != "compare", Corrupt, source,
               ": is a table of compare; give it the files that the table was made of");
  return of_making(run, model, source);
}

// An evaluation of an earlier version has no format member, but results.
std::vector<ModelFigures> of_any(const Json& record, const std::string& model,
                                 const std::string& source) {
  PRUNUS_CHECK(record.is_object(), Corrupt, source, ": not a JSON object");
  if (is_run(record)) return of_run(record, model, source);
  if (record.value(kFormat, Json()) == kBenchFormat) return of_bench(record, source);
  const bool evaluation =
      record.contains(kResults) || record.contains(kTasks) || record.contains(kKl);
  PRUNUS_CHECK(
      record.contains(kModel) && evaluation, Corrupt, source,
      ": expected a file written by prunus eval --json, prunus bench --out, or a run.json");
  return of_evaluation(record, source);
}

// Members that are missing or of another type than Prunus writes.
template <typename Act>
auto with_source(const std::string& source, Act act) {
  try {
    return act();
  } catch (const Json::exception& error) {
    PRUNUS_FAIL(Corrupt, source, ": not as prunus writes it: ", error.what());
  }
}

}  // namespace

std::vector<ModelFigures> figures_of(const Json& record, const std::string& model,
                                     const std::string& source) {
  return with_source(source, [&] { return of_any(record, model, source); });
}

std::vector<Figure> size_figures(const Json& sizes, const std::string& source) {
  return with_source(source, [&] {
    Adder adder(source);
    add_sizes(adder, sizes);
    return std::move(adder.figures());
  });
}

}  // namespace prunus
