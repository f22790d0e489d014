#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/eval/request.h"
#include "prunus/eval/task.h"
#include "prunus/eval/task_run.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

/// A task ready to be scored.
struct PreparedTask {
  const Task* task = nullptr;
  int64_t few_shot = 0;
  std::string file_sha256;
  std::vector<TaskItem> items;         ///< contexts hold description and few-shot examples
  std::vector<ScoreRequest> requests;  ///< item after item, choice after choice
};

/// The task of that name. Throws InvalidArgument listing the known ones.
const Task& find_task(std::string_view name);

/// The tasks that `names` stand for (see TaskRunOptions), each once, in the order given.
/// Throws InvalidArgument: an unknown name, none given; NotFound where "all" finds no file.
std::vector<const Task*> choose_tasks(const std::vector<std::string>& names,
                                      const std::string& dir);

/// Context and continuation as ids, as lm-evaluation-harness makes them: white space at the end of
/// the context belongs to the continuation; both are encoded as one text (with BOS where the
/// tokenizer adds it, but not twice), and what follows as many ids as the context alone has is the
/// continuation. An empty context is BOS, else EOS.
/// Throws Corrupt, naming `where`, if no id is left to score; Unsupported where the context is
/// empty and the tokenizer has neither BOS nor EOS.
ScoreRequest make_request(const Tokenizer& tokenizer, const std::string& context,
                          const std::string& continuation, const std::string& where);

/// Reads a task's file and turns its first `options.limit` records into requests. Examples are
/// drawn as Python's random.Random(options.seed).sample would draw them, item after item.
/// Throws NotFound; Corrupt naming file and line; InvalidArgument: negative limit or few_shot, a
/// task without examples, too few of them.
PreparedTask prepare_task(const Task& task, const Tokenizer& tokenizer,
                          const TaskRunOptions& options);

/// The task's figures; of equal choices the first counts. `results` belong to prepared.requests.
TaskResult collect(const PreparedTask& prepared, std::span<const ScoreResult> results);

/// One JSON object a line and item: task, item, label, log_likelihood and greedy of each choice,
/// acc and, where the task has it, acc_norm (0 or 1).
std::string samples_text(const PreparedTask& prepared, std::span<const ScoreResult> results);

}  // namespace prunus
