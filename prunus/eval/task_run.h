#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/eval/request.h"
#include "prunus/eval/task.h"
#include "prunus/model/model.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

struct TaskRunOptions {
  std::vector<std::string> names;   ///< of tasks; "all": every task whose file is there; or the
                                    ///< preset "llm-pruner-table"
  std::string dir;                  ///< with the tasks' files
  int64_t limit = 0;                ///< first items of each task only; 0: all
  std::optional<int64_t> few_shot;  ///< instead of each task's default
  uint64_t seed = 0;                ///< of the few-shot examples
  std::string* samples = nullptr;   ///< gets the output of every item as jsonl; null: none
  RequestOptions score;             ///< journal included
};

/// One task's figures. Standard errors are sample deviation / √n, as in lm-evaluation-harness.
struct TaskResult {
  std::string name;
  int64_t items = 0;
  double acc = 0, acc_stderr = 0;  ///< argmax of log-likelihood
  double acc_norm = 0,
         acc_norm_stderr = 0;  ///< argmax of log-likelihood / characters of the choice
  bool has_acc_norm = true;    ///< otherwise acc_norm is not a figure of this task, and is 0
  double perplexity = 0;       ///< of cloze tasks: exp(−mean log-likelihood); 0 for the others
  std::string file_sha256;
  int64_t few_shot = 0;
  double seconds = 0;  ///< of the common run, in proportion to the task's ids
};

/// Runs tasks in one go (requests of all tasks are scored together). Throws NotFound (file),
/// Corrupt (file and line), InvalidArgument (an unknown task; the known ones are listed), and as
/// score_requests.
std::vector<TaskResult> run_tasks(const Model& model, const Tokenizer& tokenizer, at::Device device,
                                  const TaskRunOptions& options);

/// As in eval's JSON: {"boolq": {"acc": …}, …} and, where all seven tasks of LLM-Pruner's table are
/// there, "llm_pruner_table": the metric of each and their plain mean.
Json to_json(const std::vector<TaskResult>& results);

/// Each figure and the mean as a fraction of the unpruned model's (of an earlier to_json).
/// Throws InvalidArgument where tasks, item counts or few-shot numbers differ.
Json relative_to(const Json& results, const Json& dense);

}  // namespace prunus
