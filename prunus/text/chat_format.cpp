#include "prunus/text/chat_format.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/io/gguf.h"
#include "prunus/text/chat_spans.h"
#include "prunus/text/gguf_tokenizer_json.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/stock_tokens.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostTemplateBytes = uint64_t{1} << 20;
constexpr const char* kDefault = "default";
constexpr const char* kToolUse = "tool_use";
constexpr const char* kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}";

// The text of a template by its name, and where it stands.
struct Source {
  std::string text;
  std::string where;
};
using Sources = std::map<std::string, Source>;

void add_file(Sources& sources, const std::string& name, const fs::path& path) {
  sources[name] = {read_file(path.string(), kMostTemplateBytes), path.string()};
}

Sources jinja_files(const fs::path& dir) {
  Sources sources;
  if (fs::exists(dir / "chat_template.jinja")) {
    add_file(sources, kDefault, dir / "chat_template.jinja");
  }
  const fs::path more = dir / "additional_chat_templates";
  if (!fs::is_directory(more)) return sources;
  for (const auto& entry : fs::directory_iterator(more)) {
    if (entry.path().extension() == ".jinja") {
      add_file(sources, entry.path().stem().string(), entry.path());
    }
  }
  return sources;
}

Sources config_templates(const text::SidecarFiles& files) {
  Sources sources;
  const text::JsonView config = files.config();
  if (!config.has("chat_template")) return sources;
  const text::JsonView given = config.at("chat_template");
  if (given.raw().is_string()) {
    sources[kDefault] = {given.raw().get<std::string>(), given.where()};
    return sources;
  }
  for (const text::JsonView& one : given.elements()) {
    sources[one.text("name")] = {one.text("template"), one.where()};
  }
  return sources;
}

Sources model_sources(const std::string& model_dir, const text::SidecarFiles& files) {
  Sources sources = jinja_files(model_dir);
  return sources.empty() ? config_templates(files) : sources;
}

Sources find_sources(const std::string& model_dir, const text::SidecarFiles& files) {
  Sources sources = model_sources(model_dir, files);
  PRUNUS_CHECK(!sources.empty(), NotFound, model_dir,
               ": has no chat template (chat_template.jinja, chat_template of "
               "tokenizer_config.json, or tokenizer.chat_template of a GGUF file), which "
               "conversations are written by; give one with "
               "--chat-template FILE, or --chat-template chatml");
  return sources;
}

text::SidecarFiles files_beside(const std::string& model) {
  return is_gguf_path(model) ? text::gguf_sidecar_files(model) : text::SidecarFiles(model);
}

// What a template may name: all that is given of the seven and of the model's own.
Json token_names(const text::SidecarFiles& files) {
  const text::StockTokens tokens(files,
                                 text::stock_class(files, text::has_byte_level_part(files.dir())));
  Json names = Json::object();
  for (const auto& [name, content] : tokens.contents()) names[name] = content;
  return names;
}

Json variables_of(const Conversation& conversation, const Json& tokens, const Json& messages,
                  bool with_prompt) {
  Json variables = tokens;
  variables["messages"] = messages;
  variables["tools"] = conversation.tools;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = with_prompt;
  variables.update(conversation.variables);
  return variables;
}

bool learns_all(const Conversation& conversation) {
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (conversation.messages[i].at("role") == "assistant" && !conversation.learnt[i]) return false;
  }
  return true;
}

// The blocks a template marks, or those of them that are learnt.
std::vector<std::pair<size_t, size_t>> marked(const Conversation& conversation,
                                              const ChatRendering& rendering,
                                              const std::string& where) {
  if (learns_all(conversation)) return rendering.generated;
  std::vector<std::pair<size_t, size_t>> spans;
  size_t turn = 0;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (conversation.messages[i].at("role") != "assistant") continue;
    if (conversation.learnt[i] && turn < rendering.generated.size()) {
      spans.push_back(rendering.generated[turn]);
    }
    ++turn;
  }
  PRUNUS_CHECK(turn == rendering.generated.size(), Unsupported, where, ": the template marks ",
               rendering.generated.size(), " generation blocks for ", turn,
               " turns of the assistant, so it does not show which of them is which");
  return spans;
}

// Whether what the template raised for a part of a conversation may be passed over.
bool is_template_error(const Error& error) {
  return error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::Unsupported;
}

std::vector<std::pair<size_t, size_t>> found(const Conversation& conversation,
                                             const ChatTemplate& chat, const Json& tokens,
                                             const std::string& whole, const std::string& where) {
  const text::RenderMessages render = [&](const Json& messages,
                                          bool with_prompt) -> std::optional<std::string> {
    try {
      return chat.render(variables_of(conversation, tokens, messages, with_prompt)).text;
    } catch (const Error& error) {
      if (!is_template_error(error)) throw;
      return std::nullopt;
    }
  };
  std::vector<std::pair<size_t, size_t>> spans;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (!conversation.learnt[i]) continue;
    const auto span = text::span_of_turn(render, conversation.messages, i, whole);
    PRUNUS_CHECK(span, Unsupported, where, ": turn ", i + 1,
                 ": the template writes a turn otherwise once others follow, so it does not show "
                 "what the assistant said; give a template with {% generation %} blocks "
                 "(--chat-template FILE), or --train-on-prompt");
    spans.push_back(*span);
  }
  return spans;
}

}  // namespace

std::map<std::string, std::string> text::chat_template_texts(const std::string& model_dir) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, source] : model_sources(model_dir, files_beside(model_dir))) {
    texts[name] = source.text;
  }
  return texts;
}

ChatFormat::ChatFormat(const std::string& model_dir, const std::string& instead)
    : tokens_(Json::object()) {
  const text::SidecarFiles files = files_beside(model_dir);
  Sources sources;
  if (instead == "chatml") {
    sources[kDefault] = {kChatMl, "chatml"};
  } else if (!instead.empty()) {
    add_file(sources, kDefault, instead);
  } else {
    sources = find_sources(model_dir, files);
  }
  tokens_ = token_names(files);
  std::string all = tokens_.dump();
  for (const auto& [name, source] : sources) {
    templates_.emplace(name, ChatTemplate(source.text, source.where));
    all += '\0' + name + '\0' + source.text;
  }
  description_ = {{"source", instead.empty() ? sources.begin()->second.where : instead},
                  {"sha256", sha256(all)}};
}

const ChatTemplate& ChatFormat::template_for(const Conversation& conversation,
                                             const std::string& where) const {
  if (!conversation.tools.is_null()) {
    const auto tool_use = templates_.find(kToolUse);
    if (tool_use != templates_.end()) return tool_use->second;
  }
  const auto by_default = templates_.find(kDefault);
  std::string names;
  for (const auto& [name, ignored] : templates_) names += (names.empty() ? "" : ", ") + name;
  PRUNUS_CHECK(by_default != templates_.end(), Unsupported, where,
               ": the model has no chat template named default, only: ", names,
               "; name a file with --chat-template FILE");
  return by_default->second;
}

ChatText ChatFormat::render(const Conversation& conversation, const std::string& where) const {
  const ChatTemplate& chat = template_for(conversation, where);
  ChatRendering whole;
  try {
    whole = chat.render(variables_of(conversation, tokens_, conversation.messages, false));
  } catch (const Error& error) {
    throw Error(error.kind(), where + ": " + error.what());
  }
  ChatText result{.text = whole.text};
  result.learnt = chat.has_generation() ? marked(conversation, whole, where)
                                        : found(conversation, chat, tokens_, whole.text, where);
  std::erase_if(result.learnt, [](const auto& span) { return span.first >= span.second; });
  return result;
}

}  // namespace prunus
