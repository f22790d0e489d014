#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

TaskItem item(const Json& record, const std::string& where) {
  const LabelledChoices choices = labelled_choices(record, where);
  return multiple_choice(text_field(record, "question_stem", where), choices.texts, choices.answer,
                         where);
}

}  // namespace

extern const Task openbookqa{.name = "openbookqa",
                             .file = "openbookqa.jsonl",
                             .source = "Mihaylov et al., EMNLP 2018, arXiv:1809.02789",
                             .item = item,
                             .llm_pruner = Metric::AccNorm,
                             .in_llm_pruner_table = true,
                             .few_shot_file = "openbookqa.train.jsonl",
                             .few_shot_choice = FewShot::Drawn};

}  // namespace prunus::tasks
