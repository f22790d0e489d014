#include "prunus/base/error.h"
#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

constexpr size_t kChoices = 5;

TaskItem item(const Json& record, const std::string& where) {
  const LabelledChoices choices = labelled_choices(record, where);
  PRUNUS_CHECK(choices.texts.size() == kChoices, Corrupt, where, ": has ", choices.texts.size(),
               " choices, expected ", kChoices);
  return lettered_choice("Question: " + strip(text_field(record, "question", where)), choices.texts,
                         choices.answer, where);
}

}  // namespace

extern const Task commonsense_qa{.name = "commonsense_qa",
                                 .file = "commonsense_qa.jsonl",
                                 .source = "Talmor et al., NAACL 2019, arXiv:1811.00937",
                                 .item = item,
                                 .few_shot_file = "commonsense_qa.train.jsonl",
                                 .has_acc_norm = false};

}  // namespace prunus::tasks
