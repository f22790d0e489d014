#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

TaskItem item(const Json& record, const std::string& where) {
  const std::string context = "Question: " + text_field(record, "goal", where) + "\nAnswer:";
  return multiple_choice(context,
                         {text_field(record, "sol1", where), text_field(record, "sol2", where)},
                         integer_field(record, "label", where), where);
}

}  // namespace

extern const Task piqa{.name = "piqa",
                       .file = "piqa.jsonl",
                       .source = "Bisk et al., AAAI 2020, arXiv:1911.11641",
                       .item = item,
                       .in_llm_pruner_table = true,
                       .few_shot_file = "piqa.train.jsonl"};

}  // namespace prunus::tasks
