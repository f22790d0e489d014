#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

TaskItem item(const Json& record, const std::string& where) {
  const std::string context = text_field(record, "passage", where) +
                              "\nQuestion: " + text_field(record, "question", where) + "?\nAnswer:";
  return multiple_choice(context, {"no", "yes"}, integer_field(record, "label", where), where);
}

}  // namespace

extern const Task boolq{.name = "boolq",
                        .file = "boolq.jsonl",
                        .source = "Clark et al., NAACL 2019, arXiv:1905.10044",
                        .item = item,
                        .in_llm_pruner_table = true,
                        .few_shot_file = "boolq.train.jsonl",
                        .has_acc_norm = false};

}  // namespace prunus::tasks
