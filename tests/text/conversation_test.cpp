#include "prunus/text/conversation.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

#include "support/expect_error.h"

namespace prunus::conversation_test {
namespace {

using test::expect_error;

Json said(const char* role, const char* content) { return {{"role", role}, {"content", content}}; }

const Json& exchange() {
  static const Json messages = {said("user", "Hi"), said("assistant", "Ho")};
  return messages;
}

Conversation read(const std::string& record) { return conversation_of(Json::parse(record), "r"); }

TEST(ConversationOf, TakesMessagesAsTheyAre) {
  const auto chat = read(R"({"messages": [{"role": "user", "content": "Hi", "name": "Ann"},
      {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]},
      {"role": "tool", "content": "1"}], "tools": [{"name": "f"}], "id": 7,
      "chat_template_kwargs": {"enable_thinking": false}})");
  EXPECT_EQ(chat.messages[0].at("name"), "Ann");
  EXPECT_TRUE(chat.messages[1].at("content").is_null());
  EXPECT_EQ(chat.learnt, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(chat.tools, (Json{{{"name", "f"}}}));
  EXPECT_EQ(chat.variables, (Json{{"enable_thinking", false}}));
}

TEST(ConversationOf, ReadsShareGpt) {
  for (const char* names :
       {R"(["human", "gpt"])", R"(["user", "assistant"])", R"(["user", "bing"])"}) {
    const Json roles = Json::parse(names);
    const Json record = {
        {"conversations",
         {{{"from", roles[0]}, {"value", "Hi"}}, {{"from", roles[1]}, {"value", "Ho"}}}}};
    const auto chat = conversation_of(record, "r");
    EXPECT_EQ(chat.messages, exchange());
    EXPECT_EQ(chat.learnt, (std::vector<bool>{false, true}));
  }
  const auto with_roles = read(R"({"conversations": [{"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "Ho"}]})");
  EXPECT_EQ(with_roles.messages, exchange());
}

TEST(ConversationOf, ReadsShareGptCallsAndSystem) {
  const auto chat = read(R"({"system": "S", "tools": "[{\"name\": \"f\"}]", "conversations": [
      {"from": "human", "value": "Hi"},
      {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"},
      {"from": "observation", "value": "2"}, {"from": "gpt", "value": "Ho"}]})");
  EXPECT_EQ(chat.messages[0], said("system", "S"));
  EXPECT_EQ(chat.messages[2].at("tool_calls")[0].at("function").at("arguments"), (Json{{"x", 1}}));
  EXPECT_EQ(chat.messages[3], said("tool", "2"));
  EXPECT_EQ(chat.learnt, (std::vector<bool>{false, false, true, false, true}));
  EXPECT_EQ(chat.tools, (Json{{{"name", "f"}}}));
}

TEST(ConversationOf, LearnsOnlyTheCompletion) {
  const auto chat = read(R"({"prompt": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
      "completion": [{"role": "assistant", "content": "d"}]})");
  EXPECT_EQ(chat.messages.size(), 4u);
  EXPECT_EQ(chat.learnt, (std::vector<bool>{false, false, false, true}));
}

TEST(ConversationOf, MakesTurnsOfInstructionsAndPrompts) {
  for (const char* record :
       {R"({"prompt": "Hi", "completion": "Ho"})", R"({"prompt": "Hi", "response": "Ho"})",
        R"({"instruction": "Hi", "input": "", "output": "Ho"})",
        R"({"instruction": "Hi", "output": "Ho"})"}) {
    SCOPED_TRACE(record);
    EXPECT_EQ(read(record).messages, exchange());
    EXPECT_EQ(read(record).learnt, (std::vector<bool>{false, true}));
  }
  EXPECT_EQ(read(R"({"instruction": "Add", "input": "1", "output": "1"})").messages[0],
            said("user", "Add\n\n1"));
}

TEST(ConversationOf, TakesTheWeightOutOfATurn) {
  const auto chat = read(R"({"messages": [{"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "a", "weight": 0},
      {"role": "assistant", "content": "b", "weight": 1}]})");
  EXPECT_EQ(chat.learnt, (std::vector<bool>{false, false, true}));
  EXPECT_EQ(chat.messages[1], said("assistant", "a"));
}

TEST(ConversationOf, NamesTheTurnAndFieldThatIsWrong) {
  const auto refuses = [](const std::string& record, const std::string& part) {
    SCOPED_TRACE(record);
    expect_error(ErrorKind::Corrupt, part, [&] { read(record); });
  };
  refuses("[]", "r: is array");
  refuses("{}", "has none of");
  refuses(R"({"messages": []})", "no turns");
  refuses(R"({"messages": "x"})", "r: messages: is string");
  refuses(R"({"messages": [1]})", "messages[0]: is number");
  refuses(R"({"messages": [{"content": "x"}]})", "has no \"role\"");
  refuses(R"({"messages": [{"role": "user"}]})", "neither");
  refuses(R"({"messages": [{"role": "user", "content": 1}]})", "\"content\" is number");
  refuses(R"({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]})", "0 or 1");
  refuses(R"({"conversations": [{"from": "humn", "value": "x"}]})", "did you mean 'human'");
  refuses(R"({"conversations": [{"from": "human"}]})", "has no \"value\"");
  refuses(R"({"conversations": [{"from": "function_call", "value": "f"}]})", "function_call");
  refuses(R"({"prompt": [{"role": "user", "content": "x"}]})", "no \"completion\"");
  refuses(R"({"prompt": "x"})", "has no \"response\"");
  refuses(R"({"messages": [{"role": "user", "content": "x"}], "tools": 1})", "tools");
  refuses(R"({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": 1})",
          "chat_template_kwargs");
}

TEST(IsChatRecord, KnowsConversationsByTheirFields) {
  const auto is_chat = [](const char* record) { return is_chat_record(Json::parse(record)); };
  EXPECT_TRUE(is_chat(R"({"messages": [], "prompt": "x"})"));
  EXPECT_TRUE(is_chat(R"({"conversations": []})"));
  EXPECT_TRUE(is_chat(R"({"prompt": [], "completion": []})"));
  EXPECT_FALSE(is_chat(R"({"prompt": "x", "completion": "y"})"));
  EXPECT_FALSE(is_chat(R"({"text": "x", "messages": []})"));
  EXPECT_FALSE(is_chat("[]"));
}

}  // namespace
}  // namespace prunus::conversation_test
