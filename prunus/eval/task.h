#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// One question as text: every choice has its context and continuation (which differ in one of the
/// two only, as a rule), and lengths for the normalised score.
struct TaskItem {
  struct Choice {
    std::string context;       ///< what stands before, few-shot examples not included
    std::string continuation;  ///< with its delimiter, such as " yes"
    std::string plain;         ///< without the delimiter: its length in characters normalises
  };
  std::vector<Choice> choices;
  int64_t label = 0;             ///< index of the right choice
  std::string description = {};  ///< stands once in front of the few-shot examples
  std::string subject = {};      ///< few-shot examples are taken from the same one
};

/// Which figure of a task a published table shows.
enum class Metric { Acc, AccNorm };

/// Which records of the few-shot file an item gets, as in lm-evaluation-harness.
enum class FewShot {
  Drawn,       ///< anew for every item, by one generator a task
  DrawnOther,  ///< as Drawn, one more, and the item itself is left out where it comes up
  First,       ///< the first of the item's subject
};

/// A zero-shot task: how a record of its file becomes an item. One object per file of eval/tasks/.
struct Task {
  std::string_view name;    ///< as on the command line and in lm-evaluation-harness
  std::string_view file;    ///< in --task-dir, e.g. "boolq.jsonl"
  std::string_view source;  ///< paper
  /// Builds the item; `where` is "file: line N" for messages. Throws Corrupt: a missing field, a
  /// wrong type, an empty choice, a label out of range.
  TaskItem (*item)(const Json& record, const std::string& where);
  Metric llm_pruner = Metric::Acc;  ///< the metric of LLM-Pruner's table
  bool in_llm_pruner_table = false;
  int64_t few_shot = 0;                 ///< examples by default (MMLU: 5)
  std::string_view few_shot_file = {};  ///< where they come from; empty: none can be given
  FewShot few_shot_choice = FewShot::DrawnOther;
  bool has_acc_norm = true;  ///< lm-evaluation-harness reports acc_norm for it
  /// The only choice is what must be said: acc counts greedy answers, and there is a perplexity.
  bool cloze = false;
};

namespace tasks {
/// Every task, by file name.
std::span<const Task* const> all();
}  // namespace tasks

}  // namespace prunus
