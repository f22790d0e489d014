#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/json.h"
#include "prunus/text/chat_template.h"
#include "prunus/text/conversation.h"

namespace prunus {

/// A conversation as the model sees it.
struct ChatText {
  std::string text;
  /// First and past-the-last byte of what is to be learnt, in order, none empty.
  std::vector<std::pair<size_t, size_t>> learnt = {};
};

/// How a model's conversations are written: its chat templates and the names of its special tokens.
/// Immutable: render may be called from several threads at once.
class ChatFormat {
 public:
  /// As transformers 5.24 finds it: chat_template.jinja and additional_chat_templates/, else
  /// chat_template of tokenizer_config.json (a text, or a list of named ones);
  /// tokenizer.chat_template where `model_dir` is a GGUF file. `instead`, unless empty, takes its
  /// place: "chatml", or the path of a template file. Throws NotFound where the model has no
  /// template, as read_file, Corrupt, and what ChatTemplate throws.
  explicit ChatFormat(const std::string& model_dir, const std::string& instead = "");

  /// The text of a conversation, without a prompt for the next turn: by the template "tool_use"
  /// where there are tools and such a template, else by "default". What is learnt are the blocks
  /// that the template marks ({% generation %}); in a template without them each learnt turn as it
  /// stands in the text, from behind the prompt for it to the end of the turn.
  /// `where` names the record. Throws Corrupt for what the template refuses, Unsupported where a
  /// turn cannot be found in the text.
  ChatText render(const Conversation& conversation, const std::string& where) const;

  /// {"source": where it was found, "sha256": of the templates and special tokens}.
  const Json& description() const { return description_; }

 private:
  const ChatTemplate& template_for(const Conversation& conversation,
                                   const std::string& where) const;

  std::map<std::string, ChatTemplate> templates_;
  Json tokens_;  ///< "bos_token": "<s>", …
  Json description_;
};

namespace text {

/// The texts of a model's chat templates by name ("default"), where ChatFormat finds them; empty
/// where it has none. Throws as read_file, Corrupt.
std::map<std::string, std::string> chat_template_texts(const std::string& model_dir);

}  // namespace text
}  // namespace prunus
