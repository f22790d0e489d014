#include "prunus/text/chat_spans.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace prunus::text::chat_spans_test {
namespace {

using Span = std::optional<std::pair<size_t, size_t>>;

// What a way of writing says of a turn: the text found, "-" where it is not.
std::string found(const RenderMessages& render, const Json& messages, size_t turn) {
  const std::string whole = *render(messages, false);
  const Span span = span_of_turn(render, messages, turn, whole);
  return span ? whole.substr(span->first, span->second - span->first) : "-";
}

const Json& messages() {
  static const Json turns = {{{"role", "u"}, {"content", "Q"}},
                             {{"role", "a"}, {"content", "one"}},
                             {{"role", "u"}, {"content", "R"}},
                             {{"role", "a"}, {"content", "two"}}};
  return turns;
}

std::string part(const Json& message, const char* key) {
  return message.at(key).get<std::string>();
}

// "[u]Q;[a]one;": every turn the same.
std::optional<std::string> plain(const Json& turns, bool prompt) {
  std::string text;
  for (const Json& one : turns) text += "[" + part(one, "role") + "]" + part(one, "content") + ";";
  return prompt ? text + "[a]" : text;
}

TEST(SpanOfTurn, LiesBetweenThePromptAndTheEndOfTheTurn) {
  EXPECT_EQ(found(plain, messages(), 1), "one;");
  EXPECT_EQ(found(plain, messages(), 3), "two;");
}

// The last answer begins with a thought, which goes once another turn follows.
std::optional<std::string> thinking(const Json& turns, bool prompt) {
  std::string text;
  for (size_t i = 0; i < turns.size(); ++i) {
    const bool last = i + 1 == turns.size() && part(turns[i], "role") == "a";
    text += "[" + part(turns[i], "role") + "]" + (last ? "<t></t>" : "") +
            part(turns[i], "content") + ";";
  }
  return prompt ? text + "[a]" : text;
}

TEST(SpanOfTurn, IsFoundByAMarkWhereATurnChangesOnceOthersFollow) {
  EXPECT_EQ(found(thinking, messages(), 1), "one;");
  EXPECT_EQ(found(thinking, messages(), 3), "<t></t>two;");
}

// Nothing can be rendered before the first turn, and the end of the text has an end of its own.
std::optional<std::string> strict(const Json& turns, bool prompt) {
  if (turns.empty()) return std::nullopt;
  return *plain(turns, prompt) + (prompt ? "" : "</s>");
}

TEST(SpanOfTurn, DoesWithoutWhatTheTemplateRefuses) {
  const Json first = {{{"role", "a"}, {"content", "one"}}, {{"role", "u"}, {"content", "Q"}}};
  EXPECT_EQ(found(strict, first, 0), "one;");
}

TEST(SpanOfTurn, DoesNotEndWithinATag) {
  // ";</s>" at the end of the text and ";<u>" behind a turn have ";<" in common.
  const RenderMessages tags = [](const Json& turns, bool prompt) -> std::optional<std::string> {
    std::string text;
    for (const Json& one : turns)
      text += "<" + part(one, "role") + ">" + part(one, "content") + ";";
    return text + (prompt ? "<a>" : "</s>");
  };
  EXPECT_EQ(found(tags, messages(), 1), "one;");
  EXPECT_EQ(found(tags, messages(), 3), "two;</s>");
}

TEST(SpanOfTurn, IsNotFoundWhereTheTurnIsNotInTheText) {
  const RenderMessages lengths = [](const Json& turns, bool) -> std::optional<std::string> {
    std::string text;
    for (size_t i = 0; i < turns.size(); ++i) {
      const std::string content = part(turns[i], "content");
      text += i + 1 == turns.size() ? content : std::to_string(content.size());
    }
    return text;
  };
  EXPECT_EQ(found(lengths, messages(), 1), "-");
}

}  // namespace
}  // namespace prunus::text::chat_spans_test
