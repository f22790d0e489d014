#include "prunus/eval/earlier_evaluation.h"

#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/run_schema.h"
#include "prunus/eval/task_request.h"

namespace prunus {
namespace {

constexpr const char* kExpected = "; expected a file that `prunus eval --out` has written";

bool is_evaluation(const Json& json) {
  if (!json.is_object() || !json.contains("model")) return false;
  const Json results = json.value("results", Json::array());
  const Json tasks = json.value("tasks", Json::object());
  if (!results.is_array() || !tasks.is_object()) return false;
  for (const Json& one : results) {
    if (!one.is_object()) return false;
  }
  return !results.empty() || !tasks.empty() || json.contains("kl");
}

bool same_text(const Json& one, const Json& other) {
  for (const char* key : {"protocol", "text_sha256"}) {
    if (!one.contains(key) || !other.contains(key) || one.at(key) != other.at(key)) return false;
  }
  return true;
}

// Perplexities as fractions of theirs.
void relate_perplexities(Json& ours, const Json& theirs) {
  for (const char* key : {"ppl", "word_perplexity", "byte_perplexity"}) {
    const Json below = theirs.value(key, Json());
    if (!ours.contains(key) || !below.is_number() || below.get<double>() == 0) continue;
    ours["relative"][key] = ours.at(key).get<double>() / below.get<double>();
  }
}

std::string list_of(const std::set<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list.empty() ? "none" : list;
}

}  // namespace

EarlierEvaluation::EarlierEvaluation(std::string path) : path_(std::move(path)) {
  if (!given()) return;
  const Json json = read_json(path_);
  PRUNUS_CHECK(is_evaluation(json), Corrupt, "--relative-to ", path_, ": holds no evaluation",
               kExpected);
  text_ = json.dump();
}

bool EarlierEvaluation::shares_text(const Json& texts) const {
  const Json earlier = parse_json(text_, path_).value("results", Json::array());
  for (const Json& ours : texts) {
    for (const Json& theirs : earlier) {
      if (same_text(ours, theirs)) return true;
    }
  }
  return false;
}

void EarlierEvaluation::check_tasks(const TaskRunOptions& tasks) const {
  const Json earlier = parse_json(text_, path_).value("tasks", Json::object());
  std::set<std::string> ours;
  std::set<std::string> theirs;
  for (const auto& [name, figures] : earlier.items()) {
    if (name != run_key::kLlmPrunerTable) theirs.insert(name);
  }
  const auto chosen = choose_tasks(tasks.names, tasks.dir);
  for (const Task* task : chosen) ours.emplace(task->name);
  PRUNUS_CHECK(ours == theirs, InvalidArgument, "--relative-to ", path_, ": is of other tasks (",
               list_of(theirs), ") than are asked for (", list_of(ours),
               "); run both on the same tasks");
  for (const Task* task : chosen) {
    const Json& figures = earlier.at(std::string(task->name));
    const std::string file = (std::filesystem::path(tasks.dir) / task->file).string();
    const Json hash = figures.is_object() ? figures.value("file_sha256", Json()) : Json();
    PRUNUS_CHECK(hash == sha256_file(file), InvalidArgument, "--relative-to ", path_, ": task ",
                 task->name, " was run on another file than ", file, " (file_sha256 ", hash.dump(),
                 "); run both on the same items");
  }
}

void EarlierEvaluation::check(const TaskRunOptions& tasks, const Json& texts) const {
  if (!given()) return;
  if (!tasks.names.empty()) return check_tasks(tasks);
  PRUNUS_CHECK(shares_text(texts), InvalidArgument, "--relative-to ", path_,
               ": has nothing in common with what is asked for: no text of the same content under "
               "the same protocol and length, no tasks");
}

void EarlierEvaluation::relate(Json& evaluation) const {
  if (!given()) return;
  const Json earlier = parse_json(text_, path_);
  if (evaluation.contains("tasks")) {
    evaluation["relative"] = relative_to(evaluation["tasks"], earlier.value("tasks", Json()));
  }
  for (Json& ours : evaluation["results"]) {
    for (const Json& theirs : earlier.value("results", Json::array())) {
      if (same_text(ours, theirs)) relate_perplexities(ours, theirs);
    }
  }
}

}  // namespace prunus
