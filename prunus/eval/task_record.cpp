#include "prunus/eval/task_record.h"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>
#include <utf8proc.h>

#include "prunus/base/error.h"
#include "prunus/text/utf8.h"

namespace prunus {
namespace {

const Json& field(const Json& record, const char* name, const std::string& where) {
  const auto found = record.find(name);
  PRUNUS_CHECK(found != record.end(), Corrupt, where, ": has no \"", name,
               "\"; the fields each task's file needs are in docs/tasks.md");
  return *found;
}

// White_Space and the four separators that Python counts as space besides.
bool is_python_space(char32_t value) {
  return text::is_white_space(value) || (value >= 0x1C && value <= 0x1F);
}

std::vector<std::string> texts_of(const Json& list, const char* name, const std::string& where) {
  PRUNUS_CHECK(list.is_array(), Corrupt, where, ": \"", name, "\" is ", list.type_name(),
               ", expected a list of strings");
  std::vector<std::string> texts;
  for (const Json& one : list) {
    PRUNUS_CHECK(one.is_string(), Corrupt, where, ": \"", name, "\" holds ", one.type_name(),
                 ", expected strings");
    texts.push_back(one.get<std::string>());
  }
  return texts;
}

}  // namespace

std::string text_field(const Json& record, const char* name, const std::string& where) {
  const Json& value = field(record, name, where);
  PRUNUS_CHECK(value.is_string(), Corrupt, where, ": \"", name, "\" is ", value.type_name(),
               ", expected a string");
  return value.get<std::string>();
}

int64_t integer_field(const Json& record, const char* name, const std::string& where) {
  const Json& value = field(record, name, where);
  if (value.is_number_integer()) return value.get<int64_t>();
  PRUNUS_CHECK(value.is_string(), Corrupt, where, ": \"", name, "\" is ", value.type_name(),
               ", expected a whole number");
  const auto& digits = value.get_ref<const std::string&>();
  int64_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  PRUNUS_CHECK(error == std::errc() && stop == end, Corrupt, where, ": \"", name, "\" is '", digits,
               "', expected a whole number");
  return number;
}

std::vector<std::string> text_list(const Json& record, const char* name, const std::string& where,
                                   size_t count) {
  std::vector<std::string> texts = texts_of(field(record, name, where), name, where);
  PRUNUS_CHECK(count == 0 || texts.size() == count, Corrupt, where, ": \"", name, "\" has ",
               texts.size(), " entries, expected ", count);
  return texts;
}

LabelledChoices labelled_choices(const Json& record, const std::string& where) {
  const Json& choices = field(record, "choices", where);
  LabelledChoices result{text_list(choices, "text", where)};
  const std::vector<std::string> labels = text_list(choices, "label", where, result.texts.size());
  const std::string given = text_field(record, "answerKey", where);
  const std::string key = given.substr(std::min(given.find_first_not_of(' '), given.size()));
  const auto found = std::find(labels.begin(), labels.end(), key);
  PRUNUS_CHECK(found != labels.end(), Corrupt, where, ": answerKey '", key,
               "' is none of the labels of its ", labels.size(), " choices");
  result.answer = found - labels.begin();
  return result;
}

TaskItem multiple_choice(const std::string& context, const std::vector<std::string>& choices,
                         int64_t label, const std::string& where) {
  PRUNUS_CHECK(!choices.empty(), Corrupt, where, ": has no choices");
  PRUNUS_CHECK(label >= 0 && label < static_cast<int64_t>(choices.size()), Corrupt, where,
               ": the label stands for choice ", label, " (from 0), but there are ", choices.size(),
               " choices");
  TaskItem item{.choices = {}, .label = label};
  for (const std::string& choice : choices) {
    PRUNUS_CHECK(!choice.empty(), Corrupt, where, ": choice ", item.choices.size(),
                 " (from 0) is empty");
    item.choices.push_back({context, " " + choice, choice});
  }
  return item;
}

TaskItem lettered_choice(const std::string& question, const std::vector<std::string>& choices,
                         int64_t label, const std::string& where) {
  std::string context = question;
  std::vector<std::string> letters;
  for (const std::string& choice : choices) {
    letters.push_back(std::string(1, static_cast<char>('A' + letters.size())));
    context += "\n" + letters.back() + ". " + choice;
  }
  return multiple_choice(context + "\nAnswer:", letters, label, where);
}

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<uint8_t>(byte) & 0xC0) != 0x80; });
}

size_t trailing_space_bytes(std::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const text::CodePoint last = text::last_code_point(text.substr(0, text.size() - bytes));
    if (!is_python_space(last.value)) break;
    bytes += last.bytes;
  }
  return bytes;
}

std::string strip(std::string_view text) {
  text.remove_suffix(trailing_space_bytes(text));
  while (!text.empty()) {
    const text::CodePoint first = text::code_point_at(text, 0);
    if (!is_python_space(first.value)) break;
    text.remove_prefix(first.bytes);
  }
  return std::string(text);
}

std::string capitalise(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const text::CodePoint one = text::code_point_at(text, at);
    if (at == 0) {
      const auto title = utf8proc_totitle(static_cast<utf8proc_int32_t>(one.value));
      text::append_utf8(result, static_cast<char32_t>(title));
    } else {
      text::append_lower(result, one.value);
    }
    at += one.bytes;
  }
  return result;
}

std::string lower_first(std::string_view text) {
  std::string result;
  if (text.empty()) return result;
  const text::CodePoint first = text::code_point_at(text, 0);
  text::append_lower(result, first.value);
  return result.append(text.substr(first.bytes));
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace prunus
