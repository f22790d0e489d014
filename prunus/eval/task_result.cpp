#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/run_schema.h"
#include "prunus/eval/task_record.h"
#include "prunus/eval/task_request.h"

namespace prunus {
namespace {

constexpr const char* kMean = "mean";

// Which of an item's choices each metric takes, and whether that is right.
struct Verdict {
  bool acc = false;
  bool acc_norm = false;
};

size_t first_maximum(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

Verdict judge(const Task& task, const TaskItem& item, std::span<const ScoreResult> results) {
  if (task.cloze) return {results[0].greedy, false};
  std::vector<double> plain;
  std::vector<double> normalised;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto length = static_cast<double>(characters(item.choices[i].plain));
    plain.push_back(results[i].log_likelihood);
    normalised.push_back(results[i].log_likelihood / length);
  }
  const auto label = static_cast<size_t>(item.label);
  return {first_maximum(plain) == label, task.has_acc_norm && first_maximum(normalised) == label};
}

// Calls act(number of the item, item, its results) for every item.
template <typename Act>
void for_each_item(const PreparedTask& prepared, std::span<const ScoreResult> results,
                   const Act& act) {
  TORCH_INTERNAL_ASSERT(results.size() == prepared.requests.size());
  size_t at = 0;
  for (size_t i = 0; i < prepared.items.size(); ++i) {
    const TaskItem& item = prepared.items[i];
    act(i, item, results.subspan(at, item.choices.size()));
    at += item.choices.size();
  }
}

// Standard error of a mean of zeros and ones: √(Σ(x − p)² / (n − 1) / n), Σ(x − p)² = n·p·(1 − p).
double standard_error(double share, int64_t n) {
  return n < 2 ? 0.0 : std::sqrt(share * (1 - share) / static_cast<double>(n - 1));
}

Json figures_of(const TaskResult& result) {
  Json json = {{"acc", result.acc}, {"acc_stderr", result.acc_stderr}};
  if (result.has_acc_norm) {
    json["acc_norm"] = result.acc_norm;
    json["acc_norm_stderr"] = result.acc_norm_stderr;
  }
  if (find_task(result.name).cloze) json["perplexity"] = result.perplexity;
  json["items"] = result.items;
  json["few_shot"] = result.few_shot;
  json["file_sha256"] = result.file_sha256;
  json["seconds"] = result.seconds;
  return json;
}

// Nothing where one of the table's tasks is missing.
Json table_of(const std::vector<TaskResult>& results) {
  Json table = Json::object();
  double sum = 0;
  for (const Task* task : tasks::all()) {
    if (!task->in_llm_pruner_table) continue;
    const auto found = std::find_if(results.begin(), results.end(),
                                    [&](const TaskResult& one) { return one.name == task->name; });
    if (found == results.end()) return nullptr;
    const double figure = task->llm_pruner == Metric::Acc ? found->acc : found->acc_norm;
    table[std::string(task->name)] = figure;
    sum += figure;
  }
  table[kMean] = sum / static_cast<double>(table.size());
  return table;
}

void check_comparable(const std::string& name, const Json& ours, const Json& dense) {
  for (const char* field : {"items", "few_shot", "file_sha256"}) {
    PRUNUS_CHECK(ours.contains(field) && dense.contains(field) && ours[field] == dense[field],
                 InvalidArgument, "task ", name, ": ", field, " is ",
                 ours.value(field, Json()).dump(), " here and ", dense.value(field, Json()).dump(),
                 " in the unpruned model's results; run both on the same items");
  }
}

Json ratio(const Json& ours, const Json& dense, const std::string& name) {
  PRUNUS_CHECK(ours.is_number() && dense.is_number(), InvalidArgument, name,
               ": is not a number in both results");
  const auto below = dense.get<double>();
  return below == 0 ? Json() : Json(ours.get<double>() / below);
}

// ratio() of every figure that `ours` has among `names`.
Json ratios(const std::string& task, const Json& ours, const Json& dense,
            const std::vector<std::string>& names) {
  Json result = Json::object();
  for (const std::string& name : names) {
    if (ours.contains(name)) {
      result[name] = ratio(ours[name], dense.value(name, Json()), task + " " + name);
    }
  }
  return result;
}

void check_same_names(const Json& ours, const Json& dense) {
  PRUNUS_CHECK(ours.is_object() && dense.is_object(), InvalidArgument,
               "task results are an object of tasks");
  for (const auto& [one, other] : {std::pair(&ours, &dense), std::pair(&dense, &ours)}) {
    for (const auto& [name, figures] : one->items()) {
      PRUNUS_CHECK(figures.is_object() && other->contains(name), InvalidArgument, "task ", name,
                   " stands in one of the two results only; run both on the same tasks");
    }
  }
}

}  // namespace

TaskResult collect(const PreparedTask& prepared, std::span<const ScoreResult> results) {
  int64_t right = 0;
  int64_t right_norm = 0;
  double sum = 0;
  for_each_item(prepared, results, [&](size_t, const TaskItem& item, auto scored) {
    const Verdict verdict = judge(*prepared.task, item, scored);
    right += verdict.acc;
    right_norm += verdict.acc_norm;
    sum += scored[0].log_likelihood;
  });
  TaskResult result;
  result.name = prepared.task->name;
  result.items = static_cast<int64_t>(prepared.items.size());
  const auto n = static_cast<double>(result.items);
  result.acc = static_cast<double>(right) / n;
  result.acc_stderr = standard_error(result.acc, result.items);
  result.has_acc_norm = prepared.task->has_acc_norm;
  result.acc_norm = static_cast<double>(right_norm) / n;
  result.acc_norm_stderr = standard_error(result.acc_norm, result.items);
  if (prepared.task->cloze) result.perplexity = std::exp(-sum / n);
  result.file_sha256 = prepared.file_sha256;
  result.few_shot = prepared.few_shot;
  return result;
}

std::string samples_text(const PreparedTask& prepared, std::span<const ScoreResult> results) {
  std::string text;
  for_each_item(prepared, results, [&](size_t number, const TaskItem& item, auto scored) {
    const Verdict verdict = judge(*prepared.task, item, scored);
    Json line = {{"task", prepared.task->name}, {"item", number}, {"label", item.label}};
    line["log_likelihood"] = Json::array();
    line["greedy"] = Json::array();
    for (const ScoreResult& one : scored) {
      line["log_likelihood"].push_back(one.log_likelihood);
      line["greedy"].push_back(one.greedy);
    }
    line["acc"] = verdict.acc ? 1 : 0;
    if (prepared.task->has_acc_norm) line["acc_norm"] = verdict.acc_norm ? 1 : 0;
    text += line.dump() + "\n";
  });
  return text;
}

Json to_json(const std::vector<TaskResult>& results) {
  Json json = Json::object();
  for (const TaskResult& result : results) json[result.name] = figures_of(result);
  Json table = table_of(results);
  if (!table.is_null()) json[run_key::kLlmPrunerTable] = std::move(table);
  return json;
}

Json relative_to(const Json& results, const Json& dense) {
  check_same_names(results, dense);
  Json relative = Json::object();
  for (const auto& [name, figures] : results.items()) {
    std::vector<std::string> names = {"acc", "acc_norm", "perplexity"};
    if (name == run_key::kLlmPrunerTable) {
      names.clear();
      for (const auto& [task, figure] : figures.items()) names.push_back(task);
    } else {
      check_comparable(name, figures, dense[name]);
    }
    relative[name] = ratios(name, figures, dense[name], names);
  }
  return relative;
}

}  // namespace prunus
