#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/eval/task.h"

namespace prunus {

/// A string field. `where` is "file: line N" here and below. Throws Corrupt where it is missing or
/// of another type.
std::string text_field(const Json& record, const char* name, const std::string& where);

/// An integer field, or a string of digits, as several data sets have it. Throws Corrupt.
int64_t integer_field(const Json& record, const char* name, const std::string& where);

/// An array of strings. Throws Corrupt; also where `count` > 0 and it has another length.
std::vector<std::string> text_list(const Json& record, const char* name, const std::string& where,
                                   size_t count = 0);

/// The field `choices` {text: [...], label: [...]} and the index of `answerKey` among the labels.
struct LabelledChoices {
  std::vector<std::string> texts;
  int64_t answer = 0;
};

/// Throws Corrupt: fields as above, lists of different lengths, a key that no label equals.
LabelledChoices labelled_choices(const Json& record, const std::string& where);

/// One context, and " " + choice for each of the choices. Throws Corrupt: no choice at all, an
/// empty one, a label that is no index of them.
TaskItem multiple_choice(const std::string& context, const std::vector<std::string>& choices,
                         int64_t label, const std::string& where);

/// The choices as lines "A. …", "B. …" after `question`, then "Answer:"; the letters are scored.
/// Throws Corrupt as multiple_choice.
TaskItem lettered_choice(const std::string& question, const std::vector<std::string>& choices,
                         int64_t label, const std::string& where);

/// The number of characters (code points), which acc_norm divides by.
int64_t characters(std::string_view text);

/// Bytes of trailing white space (what Python's str.isspace calls so).
size_t trailing_space_bytes(std::string_view text);

/// As Python's str.strip().
std::string strip(std::string_view text);

/// As Python's str.capitalize(): first character in title case, the others in lower case. Differs:
/// character by character; "ß" does not become "Ss".
std::string capitalise(std::string_view text);

/// The first character in lower case, the others unchanged.
std::string lower_first(std::string_view text);

/// As Python's str.replace(from, to).
std::string replace_all(std::string text, std::string_view from, std::string_view to);

}  // namespace prunus
