// A chat template: parsing it and rendering a conversation with it.
#include <nlohmann/json.hpp>

#include "prunus/text/chat_template.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(text) {
  using namespace prunus;
  static const Json variables = {
      {"messages",
       {{{"role", "system"}, {"content", " Be short. "}},
        {{"role", "user"}, {"content", "Wer? 你好"}},
        {{"role", "assistant"},
         {"content", "<think>\nHm\n</think>\n\nIch."},
         {"tool_calls",
          {{{"type", "function"}, {"function", {{"name", "f"}, {"arguments", {{"x", 1.5}}}}}}}}},
        {{"role", "tool"}, {"content", "{\"a\": [1, null]}"}}}},
      {"tools", {{{"type", "function"}, {"function", {{"name", "f"}}}}}},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"},
      {"eos_token", "</s>"}};
  const ChatRendering rendering = ChatTemplate(text, "fuzz").render(variables);
  for (const auto& [begin, end] : rendering.generated) {
    fuzz::require(begin <= end && end <= rendering.text.size(), "spans lie in the text");
  }
}
