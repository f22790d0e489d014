// How the files that Prunus writes become figures.
#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/whole_number.h"
#include "prunus/cli/compare_table.h"
#include "prunus/cli/inspect_report.h"
#include "prunus/model/cost.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

using Group = FigureGroup;
using Style = FigureStyle;

constexpr uint64_t kMaxBytes = uint64_t{1} << 28;
constexpr size_t kDigits = 12;  // of a hash, to tell texts apart

// A number or a word; anything else was not written by Prunus.
FigureValue value_of(const Json& json) {
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  return json.get<std::string>();
}

/// Adds figures of one model from one file.
class Adder {
 public:
  Adder(CompareTable& table, const std::string& model, std::string source)
      : table_(table), column_(table.column(model)), source_(std::move(source)) {}

  void add(Group group, const std::string& name, Style style, const Json& value) const {
    if (!value.is_null()) table_.add(column_, {group, name, style, value_of(value)}, source_);
  }
  const std::string& source() const { return source_; }
  void put(const Figure& figure) const { table_.add(column_, figure, source_); }
  /// The member `key`, where there is one.
  void add(Group group, const std::string& name, Style style, const Json& from,
           const char* key) const {
    if (from.contains(key)) add(group, name, style, from.at(key));
  }

 private:
  CompareTable& table_;
  size_t column_;
  std::string source_;
};

// ", 5120 tokens" where the member is there.
std::string counted(const Json& from, const char* key, const char* unit) {
  return from.contains(key) ? c10::str(", ", from.at(key).dump(), unit) : "";
}

// Which text a figure is about: its name and hash, or the whole path where there is no hash.
std::string text_of(const Json& result) {
  for (const char* key : {"sha256", "text_sha256", "file_sha256"}) {
    if (!result.contains(key) || !result.at(key).is_string()) continue;
    const auto file = result.value("file", std::string());
    return c10::str(fs::path(file).filename().string(), ", sha256 ",
                    result.at(key).get<std::string>().substr(0, kDigits));
  }
  return result.value("file", std::string("?"));
}

void add_perplexity(const Adder& adder, const Json& result) {
  const std::string conditions =
      c10::str(" ", result.at("protocol").get<std::string>(), " ", text_of(result),
               counted(result, "seqlen", " per sequence"), counted(result, "tokens", " tokens"),
               result.contains("dtype") ? ", " + result.at("dtype").get<std::string>() : "");
  for (const char* key :
       {"ppl", "word_ppl", "byte_ppl", "word_perplexity", "byte_perplexity", "bits_per_byte"}) {
    adder.add(Group::Perplexity, key + conditions, Style::Four, result, key);
  }
}

void add_task(const Adder& adder, const std::string& name, const Json& task) {
  std::string conditions = counted(task, "items", " items") + counted(task, "few_shot", "-shot");
  if (task.contains("file_sha256")) conditions += ", " + text_of(task);
  for (const char* key : {"acc", "acc_norm"}) {
    adder.add(Group::Task, c10::str(name, " ", key, conditions), Style::Percent, task, key);
  }
  adder.add(Group::Task, name + " perplexity" + conditions, Style::Four, task, "perplexity");
}

// A preset's table: the metric of each task and their mean. Its figures depend on the items of all
// its tasks, which a hash in the row's name stands for.
void add_preset(const Adder& adder, const std::string& name, const Json& preset,
                const Json& tasks) {
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
void add_divergence(const Adder& adder, const Json& kl) {
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
    if (!figure.is_number_float() || key == "seconds") continue;
    adder.add(Group::Divergence, c10::str("kl ", key, conditions), Style::Four, figure);
  }
}

void add_sizes(const Adder& adder, const Json& sizes) {
  adder.add(Group::Size, "parameters", Style::Count, sizes, "parameters");
  adder.add(Group::Size, "bytes of weights", Style::Bytes, sizes, "bytes");
  adder.add(Group::Compute, "MACs, 64 tokens", Style::Operations, sizes, "macs_64_tokens");
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
  const std::string machine = c10::str(" (", bench.at("device").get<std::string>(), ", ",
                                       whole_number(bench, "threads", source), " threads, ",
                                       model.at("resident_dtype").get<std::string>(), ")");
  std::vector<Figure> figures;
  for (const Json& setting : model.at("cases")) {
    for (Figure& one : case_figures(setting, machine, source)) figures.push_back(std::move(one));
  }
  // Of two models the peak is that of both.
  if (bench.at("models").size() == 1 && bench.contains("peak_memory_bytes")) {
    figures.push_back({Group::Speed, "peak memory of bench" + machine, Style::Bytes,
                       value_of(bench.at("peak_memory_bytes"))});
  }
  return figures;
}

// A model that was measured before, beside another one say, has other speeds now. All speeds of
// this file then get rows of their own: only they were measured together.
std::string session_of(CompareTable& table, const Json& bench, const std::string& source) {
  for (const Json& model : bench.at("models")) {
    const size_t column = table.column(model.at("model").get<std::string>());
    for (const Figure& figure : speed_figures(bench, model, source)) {
      if (table.holds(column, figure.name)) return " in " + source;
    }
  }
  return "";
}

void add_bench(CompareTable& table, const Json& bench, const std::string& source) {
  const std::string session = session_of(table, bench, source);
  for (const Json& model : bench.at("models")) {
    const Adder adder(table, model.at("model").get<std::string>(), source);
    add_sizes(adder, model);
    for (const Figure& figure : speed_figures(bench, model, source)) {
      adder.put({figure.group, figure.name + session, figure.style, figure.value});
    }
  }
}

// "prune l2", "recover lora", "train".
std::string origin(const Json& run) {
  const Json options = run.value("options", Json::object());
  const auto command = run.at("command").get<std::string>();
  const char* key = command == "prune" ? "method" : "mode";
  return options.contains(key) ? command + " " + options.at(key).get<std::string>() : command;
}

void add_losses(const Adder& adder, const Json& run) {
  std::string data;
  if (run.contains("data") && run.at("data").contains("sha256")) {
    data = ", data " + run.at("data").at("sha256").get<std::string>().substr(0, kDigits);
  }
  const auto add = [&](const char* name, const Json& from, const char* key) {
    adder.add(Group::Recovery, name + data, Style::Four, from, key);
  };
  if (run.contains("training")) {
    add("validation loss before", run.at("training"), "valid_loss_before");
    add("validation loss after", run.at("training"), "valid_loss");
  } else {
    add("validation loss before", run, "valid_loss_before");
    add("validation loss after", run, "valid_loss_written");
  }
}

void add_run(CompareTable& table, const Json& run, const std::string& model,
             const std::string& source) {
  const Adder adder(table, model, source);
  adder.add(Group::Origin, "made by", Style::Word, origin(run));
  if (run.contains("result")) add_sizes(adder, run.at("result"));
  adder.add(Group::Size, "parameters removed by the run", Style::Percent, run,
            "parameters_removed");
  add_losses(adder, run);
}

void add_directory(CompareTable& table, const std::string& dir) {
  const std::string run_file = dir + "/run.json";
  if (fs::exists(dir + "/config.json") || !fs::exists(run_file)) {
    const Model model = open_for_inspection(dir).model;
    add_sizes(Adder(table, dir, dir + "/config.json"),
              {{"parameters", model.parameters()},
               {"bytes", model.bytes()},
               {"macs_64_tokens", count_macs(model.config(), 64).total()}});
  }
  if (fs::exists(run_file)) add_run(table, read_json(run_file, kMaxBytes), dir, run_file);
}

// A file's own format member says what it is; an evaluation has none, but results.
void add_file(CompareTable& table, const std::string& path) {
  const Json json = read_json(path, kMaxBytes);
  PRUNUS_CHECK(json.is_object(), Corrupt, path, ": not a JSON object");
  const auto format = json.value("format", std::string());
  if (format == "prunus-bench") return add_bench(table, json, path);
  if (format == "prunus-run") {
    const std::string folder = fs::path(path).parent_path().string();
    return add_run(table, json, folder.empty() ? "." : folder, path);
  }
  const bool evaluation = json.contains("results") || json.contains("tasks") || json.contains("kl");
  PRUNUS_CHECK(
      json.contains("model") && evaluation, Corrupt, path,
      ": expected a file written by prunus eval --json, prunus bench --out, or a run.json");
  add_evaluation(table, json, path);
}

// Members that are missing or of another type than Prunus writes.
template <typename Act>
void with_source(const std::string& source, Act act) {
  try {
    act();
  } catch (const Json::exception& error) {
    PRUNUS_FAIL(Corrupt, source, ": not as prunus writes it: ", error.what());
  }
}

}  // namespace

void add_evaluation(CompareTable& table, const Json& evaluation, const std::string& source) {
  with_source(source, [&] {
    const Adder adder(table, evaluation.at("model").get<std::string>(), source);
    add_sizes(adder, evaluation);
    for (const Json& one : evaluation.value("results", Json::array())) add_perplexity(adder, one);
    const Json tasks = evaluation.value("tasks", Json::object());
    for (const auto& [name, task] : tasks.items()) {
      if (task.contains("acc")) {
        add_task(adder, name, task);
      } else if (task.is_object()) {
        add_preset(adder, name, task, tasks);
      }
    }
    if (evaluation.contains("kl")) add_divergence(adder, evaluation.at("kl"));
  });
}

void add_argument(CompareTable& table, const std::string& path) {
  PRUNUS_CHECK(fs::exists(path), NotFound, path, ": no such file or directory");
  with_source(path, [&] {
    if (fs::is_directory(path)) {
      add_directory(table, path);
    } else {
      add_file(table, path);
    }
  });
}

}  // namespace prunus
