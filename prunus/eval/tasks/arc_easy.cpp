#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

TaskItem item(const Json& record, const std::string& where) {
  const LabelledChoices choices = labelled_choices(record, where);
  return multiple_choice("Question: " + text_field(record, "question", where) + "\nAnswer:",
                         choices.texts, choices.answer, where);
}

}  // namespace

extern const Task arc_easy{.name = "arc_easy",
                           .file = "arc_easy.jsonl",
                           .source = "Clark et al., 2018, arXiv:1803.05457",
                           .item = item,
                           .in_llm_pruner_table = true,
                           .few_shot_file = "arc_easy.train.jsonl",
                           .few_shot_choice = FewShot::Drawn};

}  // namespace prunus::tasks
