#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/json.h"
#include "prunus/text/text_file.h"

namespace prunus {

/// A conversation as chat templates take it.
struct Conversation {
  Json messages;                    ///< array of objects with a role; never empty
  std::vector<bool> learnt;         ///< of each message whether a model shall learn to say it
  Json tools = nullptr;             ///< what the assistant may call, or null
  Json variables = Json::object();  ///< more values for the template (chat_template_kwargs)
};

/// Whether a record is a conversation: it has no "text", but "messages" or "conversations", or a
/// "prompt" that is a list.
bool is_chat_record(const Json& record);

/// Reads one record, `where` names it in messages. What it may hold:
/// - messages: [{role, content, …}], as OpenAI and transformers have them; and a list of tools.
/// - conversations: [{from, value}], ShareGPT: human or user, gpt, chatgpt, bard, bing or
///   assistant, system, function_call (JSON with name and arguments), observation,
///   function_response or tool; or role and content, as above. Also a "system" text.
/// - prompt and completion: lists of messages (TRL); only the completion is learnt.
/// - prompt and response or completion, or instruction, input and output, as strings: one exchange.
/// All turns of the assistant are learnt, but for those with "weight": 0. Other fields are passed
/// over. Throws Corrupt naming turn and field.
Conversation conversation_of(const Json& record, const std::string& where);

}  // namespace prunus
