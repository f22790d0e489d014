#include "prunus/base/error.h"
#include "prunus/eval/task_record.h"
#include "prunus/text/utf8.h"

namespace prunus::tasks {
namespace {

std::string connector(const std::string& question, const std::string& where) {
  if (question == "cause") return " because";
  PRUNUS_CHECK(question == "effect", Corrupt, where, ": \"question\" is '", question,
               "', expected cause or effect");
  return " therefore";
}

// lm-evaluation-harness' choices begin with a space, before which it puts its delimiter: two
// spaces.
std::string choice(const Json& record, const char* name, const std::string& where) {
  const std::string text = text_field(record, name, where);
  PRUNUS_CHECK(!text.empty(), Corrupt, where, ": \"", name, "\" is empty");
  return " " + lower_first(text);
}

TaskItem item(const Json& record, const std::string& where) {
  std::string premise = strip(text_field(record, "premise", where));
  PRUNUS_CHECK(!premise.empty(), Corrupt, where, ": \"premise\" is empty");
  premise.resize(premise.size() - text::last_code_point(premise).bytes);  // the full stop
  return multiple_choice(premise + connector(text_field(record, "question", where), where),
                         {choice(record, "choice1", where), choice(record, "choice2", where)},
                         integer_field(record, "label", where), where);
}

}  // namespace

extern const Task copa{
    .name = "copa",
    .file = "copa.jsonl",
    .source = "Roemmele et al., AAAI Spring Symposium 2011; SuperGLUE, arXiv:1905.00537",
    .item = item,
    .few_shot_file = "copa.train.jsonl",
    .has_acc_norm = false};

}  // namespace prunus::tasks
