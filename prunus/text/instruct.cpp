#include "prunus/text/instruct.h"

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/json.h"

namespace prunus {
namespace {

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

InstructText instruct_text(const Json& record, const std::string& where) {
  check_object(record, where);
  if (record.contains("prompt") && !record.contains("instruction")) {
    const char* answer = record.contains("completion") ? "completion" : "response";
    return {string_field(record, "prompt", where), string_field(record, answer, where)};
  }
  const std::string instruction = string_field(record, "instruction", where);
  return {alpaca_prompt(instruction, optional_field(record, "input", where)),
          string_field(record, "output", where)};
}

}  // namespace

std::vector<InstructText> instructions_of(const TextFile& file) {
  PRUNUS_CHECK(file.is_json(), Corrupt, file.path,
               ": is plain text, expected instruction records as JSON lines or a JSON array");
  std::vector<InstructText> texts;
  for_each_record(file, [&](const Json& record, const std::string& where) {
    texts.push_back(instruct_text(record, where));
  });
  PRUNUS_CHECK(!texts.empty(), Corrupt, file.path, ": holds no instruction record");
  return texts;
}

bool is_instruct_record(const Json& record) {
  return record.is_object() && !record.contains("text") &&
         (record.contains("instruction") || record.contains("prompt"));
}

}  // namespace prunus
