#include "prunus/base/error.h"
#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

// The option stands in the context, and what follows it is scored ("partial evaluation", Trinh &
// Le, arXiv:1806.02847).
TaskItem item(const Json& record, const std::string& where) {
  const std::string sentence = text_field(record, "sentence", where);
  const size_t blank = sentence.find('_');
  PRUNUS_CHECK(blank != sentence.npos, Corrupt, where, ": \"sentence\" has no '_' for the option");
  const std::string rest = strip(std::string_view(sentence).substr(blank + 1));
  PRUNUS_CHECK(!rest.empty(), Corrupt, where, ": nothing follows the '_' of \"sentence\"");
  TaskItem item = multiple_choice(
      "", {text_field(record, "option1", where), text_field(record, "option2", where)},
      integer_field(record, "answer", where) - 1, where);
  for (TaskItem::Choice& choice : item.choices) {
    choice.context = sentence.substr(0, blank) + choice.plain;
    choice.continuation = " " + rest;
    choice.plain = choice.context;
  }
  return item;
}

}  // namespace

extern const Task winogrande{.name = "winogrande",
                             .file = "winogrande.jsonl",
                             .source = "Sakaguchi et al., AAAI 2020, arXiv:1907.10641",
                             .item = item,
                             .in_llm_pruner_table = true,
                             .few_shot_file = "winogrande.train.jsonl",
                             .has_acc_norm = false};

}  // namespace prunus::tasks
