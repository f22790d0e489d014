#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

constexpr size_t kChoices = 4;

TaskItem item(const Json& record, const std::string& where) {
  TaskItem item = lettered_choice(strip(text_field(record, "question", where)),
                                  text_list(record, "choices", where, kChoices),
                                  integer_field(record, "answer", where), where);
  item.subject = text_field(record, "subject", where);
  item.description = "The following are multiple choice questions (with answers) about " +
                     replace_all(item.subject, "_", " ") + ".\n\n";
  return item;
}

}  // namespace

extern const Task mmlu{.name = "mmlu",
                       .file = "mmlu.jsonl",
                       .source = "Hendrycks et al., ICLR 2021, arXiv:2009.03300",
                       .item = item,
                       .few_shot = 5,
                       .few_shot_file = "mmlu.dev.jsonl",
                       .few_shot_choice = FewShot::First,
                       .has_acc_norm = false};

}  // namespace prunus::tasks
