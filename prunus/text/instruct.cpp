#include "prunus/text/instruct.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/dataset.h"
#include "prunus/text/utf8.h"

namespace prunus {
namespace {

constexpr std::string_view kBlank = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kIntroWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### Instruction:\n";
constexpr std::string_view kIntro =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n";
constexpr std::string_view kInput = "\n\n### Input:\n";
constexpr std::string_view kResponse = "\n\n### Response:\n";

void check_object(const Json& record, const std::string& where) {
  PRUNUS_CHECK(record.is_object(), Corrupt, where, ": is ", record.type_name(),
               ", expected an object with instruction and output, or prompt and response");
}

std::string string_field(const Json& record, const char* name, const std::string& where) {
  const auto found = record.find(name);
  PRUNUS_CHECK(found != record.end(), Corrupt, where, ": has no \"", name,
               "\"; a record has instruction and output (and input, if it likes), or prompt and "
               "response");
  PRUNUS_CHECK(found->is_string(), Corrupt, where, ": \"", name, "\" is ", found->type_name(),
               ", expected a string");
  return found->get<std::string>();
}

std::string optional_field(const Json& record, const char* name, const std::string& where) {
  const auto found = record.find(name);
  if (found == record.end() || found->is_null()) return "";
  return string_field(record, name, where);
}

std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  std::string prompt(input.empty() ? kIntro : kIntroWithInput);
  prompt += instruction;
  if (!input.empty()) prompt.append(kInput).append(input);
  return prompt.append(kResponse);
}

InstructText text_of(const Json& record, const std::string& where) {
  check_object(record, where);
  if (record.contains("prompt") && !record.contains("instruction")) {
    return {string_field(record, "prompt", where), string_field(record, "response", where)};
  }
  const std::string instruction = string_field(record, "instruction", where);
  return {alpaca_prompt(instruction, optional_field(record, "input", where)),
          string_field(record, "output", where)};
}

// What follows a byte order mark and white space.
std::string_view from_first_character(std::string_view content) {
  if (content.starts_with(kByteOrderMark)) content.remove_prefix(kByteOrderMark.size());
  content.remove_prefix(std::min(content.find_first_not_of(kBlank), content.size()));
  return content;
}

// The next line of `content` that is not blank, from `at` on; empty at the end. `number` counts the
// lines passed, so that it is the line's own afterwards.
std::string_view next_line(std::string_view content, size_t& at, int64_t& number) {
  while (at < content.size()) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = content.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(kBlank) != line.npos) return line;
  }
  return {};
}

std::vector<InstructText> read_array(std::string_view content, const std::string& path) {
  const Json records = parse_json(content, path);
  std::vector<InstructText> texts;
  texts.reserve(records.size());
  for (const Json& record : records) {
    texts.push_back(text_of(record, c10::str(path, ": record ", texts.size() + 1)));
  }
  return texts;
}

std::vector<InstructText> read_lines(std::string_view content, const std::string& path) {
  std::vector<InstructText> texts;
  size_t at = 0;
  int64_t number = 0;
  for (auto line = next_line(content, at, number); !line.empty();
       line = next_line(content, at, number)) {
    const std::string where = c10::str(path, ": line ", number);
    texts.push_back(text_of(parse_json(line, where), where));
  }
  return texts;
}

// null where there is none.
Json first_record(std::string_view content, const std::string& path) {
  if (from_first_character(content).starts_with('[')) {
    const Json records = parse_json(content, path);
    return records.empty() ? Json() : records.front();
  }
  size_t at = 0;
  int64_t number = 0;
  const std::string_view line = next_line(content, at, number);
  return line.empty() ? Json() : parse_json(line, c10::str(path, ": line ", number));
}

}  // namespace

std::vector<InstructText> read_instructions(const std::string& path) {
  const std::string content = read_file(path);
  const auto bad = text::first_invalid_utf8(content);
  PRUNUS_CHECK(!bad, Corrupt, path, ": not valid UTF-8 at byte ", *bad,
               "; a compressed or binary file?");
  const bool array = from_first_character(content).starts_with('[');
  auto texts = array ? read_array(content, path) : read_lines(content, path);
  PRUNUS_CHECK(!texts.empty(), Corrupt, path, ": holds no instruction record");
  return texts;
}

bool is_instruct_file(const std::string& path) {
  if (!is_jsonl(path)) return false;
  const Json record = first_record(read_file(path), path);
  return record.is_object() && !record.contains("text") &&
         (record.contains("instruction") || record.contains("prompt"));
}

}  // namespace prunus
