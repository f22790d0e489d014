#include "prunus/export/choose.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/export/bitmask_file.h"

namespace prunus {
namespace {

std::string quoted_command(const OutputForm& form) {
  return c10::str("--format ", form.format, " --form ", form.name);
}

const FormAnswer* answer_for(const std::vector<FormAnswer>& answers, std::string_view software) {
  const auto found = std::find_if(answers.begin(), answers.end(), [&](const FormAnswer& answer) {
    return answer.software == software;
  });
  return found == answers.end() ? nullptr : &*found;
}

bool opened_by(const OutputForm& form, std::string_view software, const ModelConfig& config) {
  const std::vector<FormAnswer> answers = form.answers(config);
  const FormAnswer* answer = answer_for(answers, software);
  return answer != nullptr && answer->yes;
}

// Forms of both formats, the best of each first.
std::vector<const OutputForm*> all_forms() {
  std::vector<const OutputForm*> all(forms::all().begin(), forms::all().end());
  std::stable_sort(all.begin(), all.end(), [](const OutputForm* one, const OutputForm* other) {
    return one->format != other->format ? one->format > other->format : one->rank < other->rank;
  });
  return all;
}

// Legal, of the same format if one is, then the best of one that other software opens; null where
// there is none.
const OutputForm* alternative_to(const OutputForm& form, const ModelConfig& config) {
  const OutputForm* other = nullptr;
  for (const OutputForm* one : all_forms()) {
    if (one == &form || !is_legal(*one, config)) continue;
    if (one->format == form.format) return one;
    if (other == nullptr && one->format != kBitmaskFormat) other = one;
  }
  return other;
}

// The best form that this program opens; those that are made for it come first.
const OutputForm* best_for(std::string_view software, const ModelConfig& config) {
  const OutputForm* other = nullptr;
  for (const OutputForm* form : all_forms()) {
    if (!opened_by(*form, software, config)) continue;
    if (form->answers(config).front().software == software) return form;
    if (other == nullptr) other = form;
  }
  return other;
}

std::string why_not(const OutputForm& form, const ModelConfig& config) {
  std::string why;
  for (const FormAnswer& answer : form.answers(config)) {
    why += c10::str(why.empty() ? "" : "; ", answer.software, ": ", answer.text);
  }
  return why;
}

std::string advice(const OutputForm* other) {
  return other == nullptr ? "no other form holds it; Prunus itself reads it as it is"
                          : "nearest form that holds it: " + quoted_command(*other);
}

const OutputForm& best_of(const std::vector<const OutputForm*>& forms, std::string_view format,
                          const ModelConfig& config) {
  std::string why;
  const OutputForm* asked_for = nullptr;
  for (const OutputForm* form : forms) {
    const bool legal = is_legal(*form, config);
    if (legal && !form->on_request) return *form;
    if (legal && asked_for == nullptr) asked_for = form;
    if (!legal) why += c10::str(why.empty() ? "" : "; ", form->name, ": ", why_not(*form, config));
  }
  if (asked_for == nullptr) asked_for = alternative_to(*forms.front(), config);
  PRUNUS_FAIL(Unsupported, "no stock software opens this model as ", format, " (", why, "); ",
              advice(asked_for));
}

}  // namespace

bool is_legal(const OutputForm& form, const ModelConfig& config) {
  const std::vector<FormAnswer> answers = form.answers(config);
  return std::any_of(answers.begin(), answers.end(),
                     [](const FormAnswer& answer) { return answer.yes; });
}

std::vector<const OutputForm*> forms_of(std::string_view format) {
  std::vector<const OutputForm*> forms;
  std::vector<std::string> formats;
  for (const OutputForm* form : all_forms()) {
    if (form->format == format) forms.push_back(form);
    if (formats.empty() || formats.back() != form->format) formats.emplace_back(form->format);
  }
  PRUNUS_CHECK(!forms.empty(), InvalidArgument, "--format ", unknown_word(format, formats));
  return forms;
}

const OutputForm& choose_form(std::string_view format, std::string_view name,
                              const ModelConfig& config) {
  const std::vector<const OutputForm*> forms = forms_of(format);
  if (name.empty()) return best_of(forms, format, config);
  std::vector<std::string> known;
  for (const OutputForm* form : forms) {
    known.emplace_back(form->name);
    if (form->name != name) continue;
    PRUNUS_CHECK(is_legal(*form, config), Unsupported, "--form ", name, " cannot hold this model (",
                 why_not(*form, config), "); ", advice(alternative_to(*form, config)));
    return *form;
  }
  PRUNUS_FAIL(InvalidArgument, "--form ", unknown_word(name, known));
}

Json legality_table(const ModelConfig& config) {
  Json table = Json::array();
  for (const OutputForm* form : all_forms()) {
    for (const FormAnswer& answer : form->answers(config)) {
      Json row = {{"software", answer.software},
                  {"format", form->format},
                  {"form", form->name},
                  {"legal", answer.yes},
                  {answer.yes ? "how" : "why", answer.text}};
      if (form->on_request) row["on_request"] = true;
      const OutputForm* other = answer.yes ? nullptr : best_for(answer.software, config);
      if (other != nullptr) row["alternative"] = quoted_command(*other);
      table.push_back(row);
    }
  }
  return table;
}

}  // namespace prunus
