#include "prunus/text/conversation.h"

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"

namespace prunus {
namespace {

// Who speaks, in ShareGPT's words and in those of chat templates.
const std::map<std::string, std::string>& share_gpt_roles() {
  static const std::map<std::string, std::string> roles = {
      {"human", "user"},     {"user", "user"},           {"gpt", "assistant"},
      {"bot", "assistant"},  {"chatgpt", "assistant"},   {"bard", "assistant"},
      {"bing", "assistant"}, {"assistant", "assistant"}, {"model", "assistant"},
      {"system", "system"},  {"function_call", "call"},  {"observation", "tool"},
      {"tool", "tool"},      {"tool_response", "tool"},  {"function_response", "tool"}};
  return roles;
}

std::string text_of(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  PRUNUS_CHECK(found != object.end(), Corrupt, where, ": has no \"", key, "\"");
  PRUNUS_CHECK(found->is_string(), Corrupt, where, ": \"", key, "\" is ", found->type_name(),
               ", expected a string");
  return found->get<std::string>();
}

bool has_text(const Json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_string() &&
         !found->get_ref<const std::string&>().empty();
}

Json turn(const std::string& role, std::string content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// {"name", "arguments"}, or several, as the calls of one turn.
Json call_turn(const std::string& value, const std::string& where) {
  Json calls = Json::parse(value, nullptr, /*allow_exceptions=*/false);
  if (calls.is_object()) calls = Json::array({calls});
  PRUNUS_CHECK(calls.is_array() && !calls.empty(), Corrupt, where,
               ": a function_call is JSON with \"name\" and \"arguments\"");
  Json turn = {{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array()}};
  for (const Json& call : calls) {
    PRUNUS_CHECK(call.is_object() && call.contains("name") && call.contains("arguments"), Corrupt,
                 where, ": a function_call is JSON with \"name\" and \"arguments\"");
    turn["tool_calls"].push_back({{"type", "function"}, {"function", call}});
  }
  return turn;
}

Json share_gpt_turn(const Json& given, const std::string& where) {
  const std::string from = text_of(given, "from", where);
  const auto& roles = share_gpt_roles();
  const auto role = roles.find(from);
  std::vector<std::string> known;
  for (const auto& [name, ignored] : roles) known.push_back(name);
  PRUNUS_CHECK(role != roles.end(), Corrupt, where, ": \"from\": ", unknown_word(from, known));
  std::string value = text_of(given, "value", where);
  Json made =
      role->second == "call" ? call_turn(value, where) : turn(role->second, std::move(value));
  if (given.contains("weight")) made["weight"] = given.at("weight");
  return made;
}

Json message(const Json& given, const std::string& where) {
  PRUNUS_CHECK(given.is_object(), Corrupt, where, ": is ", given.type_name(),
               ", expected an object with role and content");
  if (given.contains("from") && !given.contains("role")) return share_gpt_turn(given, where);
  text_of(given, "role", where);
  const auto content = given.find("content");
  const bool silent = content == given.end() || content->is_null();
  PRUNUS_CHECK(!silent || given.contains("tool_calls"), Corrupt, where,
               ": has neither \"content\" nor \"tool_calls\"");
  PRUNUS_CHECK(silent || content->is_string() || content->is_array(), Corrupt, where,
               ": \"content\" is ", content->type_name(), ", expected a string or a list of parts");
  return given;
}

// Whether the turn is not left out by "weight": 0, which is no part of what a template sees.
bool take_weight(Json& message, const std::string& where) {
  const auto weight = message.find("weight");
  if (weight == message.end()) return true;
  const bool whole = weight->is_number() && (*weight == 0 || *weight == 1);
  PRUNUS_CHECK(whole || weight->is_null(), Corrupt, where, ": \"weight\" is ", weight->dump(),
               ", expected 0 or 1");
  const bool learnt = weight->is_null() || *weight != 0;
  message.erase(weight);
  return learnt;
}

// Appends the turns of a list; `learnt`: whether the assistant's are for learning.
void add_turns(Conversation& all, const Json& list, const std::string& where, bool learnt) {
  PRUNUS_CHECK(list.is_array(), Corrupt, where, ": is ", list.type_name(),
               ", expected a list of turns");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = c10::str(where, "[", i, "]");
    Json one = message(list[i], place);
    const bool weighted = take_weight(one, place);
    all.learnt.push_back(learnt && weighted && one.at("role") == "assistant");
    all.messages.push_back(std::move(one));
  }
}

void add_exchange(Conversation& all, std::string request, std::string answer) {
  all.messages.push_back(turn("user", std::move(request)));
  all.messages.push_back(turn("assistant", std::move(answer)));
  all.learnt.insert(all.learnt.end(), {false, true});
}

void add_instruction(Conversation& all, const Json& record, const std::string& where) {
  std::string request = text_of(record, "instruction", where);
  if (has_text(record, "input")) request += "\n\n" + text_of(record, "input", where);
  add_exchange(all, std::move(request), text_of(record, "output", where));
}

void add_prompt(Conversation& all, const Json& record, const std::string& where) {
  const char* answer = record.contains("completion") ? "completion" : "response";
  if (!record.at("prompt").is_array()) {
    add_exchange(all, text_of(record, "prompt", where), text_of(record, answer, where));
    return;
  }
  PRUNUS_CHECK(record.contains(answer), Corrupt, where,
               ": has a \"prompt\", but no \"completion\"");
  add_turns(all, record.at("prompt"), where + ": prompt", false);
  add_turns(all, record.at(answer), c10::str(where, ": ", answer), true);
}

// A list, or one written as a JSON text.
Json tools_of(const Json& record, const std::string& where) {
  const auto found = record.find("tools");
  if (found == record.end() || found->is_null()) return nullptr;
  Json tools = *found;
  if (tools.is_string()) {
    const auto& text = found->get_ref<const std::string&>();
    if (text.empty()) return nullptr;
    tools = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  }
  PRUNUS_CHECK(tools.is_array(), Corrupt, where, ": \"tools\" is no list of tools");
  return tools.empty() ? Json(nullptr) : tools;
}

}  // namespace

bool is_chat_record(const Json& record) {
  if (!record.is_object() || record.contains("text")) return false;
  return record.contains("messages") || record.contains("conversations") ||
         (record.contains("prompt") && record.at("prompt").is_array());
}

Conversation conversation_of(const Json& record, const std::string& where) {
  PRUNUS_CHECK(record.is_object(), Corrupt, where, ": is ", record.type_name(),
               ", expected an object with messages, conversations, or prompt and completion");
  Conversation all;
  all.messages = Json::array();
  if (has_text(record, "system")) {
    all.messages.push_back(turn("system", text_of(record, "system", where)));
    all.learnt.push_back(false);
  }
  if (record.contains("messages")) {
    add_turns(all, record.at("messages"), where + ": messages", true);
  } else if (record.contains("conversations")) {
    add_turns(all, record.at("conversations"), where + ": conversations", true);
  } else if (record.contains("instruction")) {
    add_instruction(all, record, where);
  } else {
    PRUNUS_CHECK(record.contains("prompt"), Corrupt, where,
                 ": has none of \"messages\", \"conversations\", \"prompt\" and \"instruction\"");
    add_prompt(all, record, where);
  }
  PRUNUS_CHECK(!all.messages.empty(), Corrupt, where, ": has no turns");
  all.tools = tools_of(record, where);
  if (const auto more = record.find("chat_template_kwargs");
      more != record.end() && !more->is_null()) {
    PRUNUS_CHECK(more->is_object(), Corrupt, where, ": \"chat_template_kwargs\" is ",
                 more->type_name(), ", expected an object");
    all.variables = *more;
  }
  return all;
}

}  // namespace prunus
