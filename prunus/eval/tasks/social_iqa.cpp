#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

TaskItem item(const Json& record, const std::string& where) {
  const std::string context = "Q: " + text_field(record, "context", where) + " " +
                              text_field(record, "question", where) + "\nA:";
  return multiple_choice(
      context,
      {text_field(record, "answerA", where), text_field(record, "answerB", where),
       text_field(record, "answerC", where)},
      integer_field(record, "label", where) - 1, where);
}

}  // namespace

extern const Task social_iqa{.name = "social_iqa",
                             .file = "social_iqa.jsonl",
                             .source = "Sap et al., EMNLP 2019, arXiv:1904.09728",
                             .item = item,
                             .few_shot_file = "social_iqa.train.jsonl",
                             .has_acc_norm = false};

}  // namespace prunus::tasks
