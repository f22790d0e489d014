#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

// The last word after everything before it; words are parted by single spaces.
TaskItem item(const Json& record, const std::string& where) {
  const std::string text = text_field(record, "text", where);
  const size_t space = text.rfind(' ');
  const bool alone = space == text.npos;
  return multiple_choice(alone ? "" : text.substr(0, space),
                         {alone ? text : text.substr(space + 1)}, 0, where);
}

}  // namespace

extern const Task lambada_openai{.name = "lambada_openai",
                                 .file = "lambada_openai.jsonl",
                                 .source = "Paperno et al., ACL 2016, arXiv:1606.06031",
                                 .item = item,
                                 .has_acc_norm = false,
                                 .cloze = true};

}  // namespace prunus::tasks
