#include "prunus/eval/task_record.h"

namespace prunus::tasks {
namespace {

// As Python's re.sub(r"\[.*?\]", "", text): from a bracket to the next closing one of its line.
std::string without_brackets(const std::string& text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text[at] == '[' ? text.find_first_of("]\n", at) : text.npos;
    if (end != text.npos && text[end] == ']') {
      at = end + 1;
    } else {
      result += text[at++];
    }
  }
  return result;
}

// WikiHow's marks, such as [header] and [step], are left over from how the data were collected.
std::string clean(const std::string& text) {
  return replace_all(without_brackets(replace_all(strip(text), " [title]", ". ")), "  ", " ");
}

TaskItem item(const Json& record, const std::string& where) {
  const std::string context = text_field(record, "activity_label", where) + ": " +
                              text_field(record, "ctx_a", where) + " " +
                              capitalise(text_field(record, "ctx_b", where));
  std::vector<std::string> endings = text_list(record, "endings", where);
  for (std::string& ending : endings) ending = clean(ending);
  return multiple_choice(clean(context), endings, integer_field(record, "label", where), where);
}

}  // namespace

extern const Task hellaswag{.name = "hellaswag",
                            .file = "hellaswag.jsonl",
                            .source = "Zellers et al., ACL 2019, arXiv:1905.07830",
                            .item = item,
                            .llm_pruner = Metric::AccNorm,
                            .in_llm_pruner_table = true,
                            .few_shot_file = "hellaswag.train.jsonl"};

}  // namespace prunus::tasks
