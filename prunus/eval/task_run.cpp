#include "prunus/eval/task_run.h"

#include <utility>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/eval/task_request.h"

namespace prunus {
namespace {

std::vector<PreparedTask> prepare_all(const Tokenizer& tokenizer, const TaskRunOptions& options) {
  std::vector<PreparedTask> prepared;
  for (const Task* task : choose_tasks(options.names, options.dir)) {
    prepared.push_back(prepare_task(*task, tokenizer, options));
  }
  return prepared;
}

int64_t ids_of(std::span<const ScoreRequest> requests) {
  int64_t ids = 0;
  for (const ScoreRequest& request : requests) {
    ids += static_cast<int64_t>(request.context.size() + request.continuation.size());
  }
  return ids;
}

}  // namespace

std::vector<TaskResult> run_tasks(const Model& model, const Tokenizer& tokenizer, at::Device device,
                                  const TaskRunOptions& options) {
  const Timer timer;
  const std::vector<PreparedTask> prepared = prepare_all(tokenizer, options);
  std::vector<ScoreRequest> requests;
  for (const PreparedTask& task : prepared) {
    requests.insert(requests.end(), task.requests.begin(), task.requests.end());
  }
  const std::vector<ScoreResult> scored = score_requests(model, requests, device, options.score);
  const double seconds_per_id = timer.seconds() / static_cast<double>(ids_of(requests));
  std::vector<TaskResult> results;
  size_t at = 0;
  for (const PreparedTask& task : prepared) {
    const auto own = std::span(scored).subspan(at, task.requests.size());
    at += own.size();
    results.push_back(collect(task, own));
    results.back().seconds = seconds_per_id * static_cast<double>(ids_of(task.requests));
    if (options.samples != nullptr) *options.samples += samples_text(task, own);
  }
  return results;
}

}  // namespace prunus
