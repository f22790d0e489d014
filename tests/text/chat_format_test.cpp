#include "prunus/text/chat_format.h"

#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::chat_format_test {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using testing::ElementsAre;

constexpr const char* kShort =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

// A model directory with a template and the tokens that the goldens were made with.
class ModelWith {
 public:
  explicit ModelWith(const std::string& chat_template, const Json& more = Json::object()) {
    Json config = {{"bos_token", "<s>"},
                   {"eos_token", "</s>"},
                   {"unk_token", "<unk>"},
                   {"pad_token", "<pad>"}};
    if (!chat_template.empty()) config["chat_template"] = chat_template;
    config.update(more);
    add("tokenizer_config.json", config.dump());
  }
  void add(const std::string& name, const std::string& content) {
    const fs::path path = fs::path(dir()) / name;
    fs::create_directories(path.parent_path());
    write_file(path.string(), content);
  }
  std::string dir() const { return dir_; }

 private:
  test::TempDir made_;
  std::string dir_ = made_ / "model";
};

// Where the templates lie; another folder of them may be named, see the README there.
std::string golden_dir() {
  const char* given = std::getenv("PRUNUS_CHAT_GOLDENS");
  return given != nullptr ? given : test::source_path("tests/text/chat");
}

std::string golden_template(const std::string& name) {
  return read_file(golden_dir() + "/" + name + ".jinja", 1 << 20);
}

Conversation conversation(const Json& messages) {
  return conversation_of({{"messages", messages}}, "here");
}

Json say(const char* role, const char* content) { return {{"role", role}, {"content", content}}; }

std::vector<std::string> learnt(const ChatText& text) {
  std::vector<std::string> parts;
  for (const auto& [begin, end] : text.learnt)
    parts.push_back(text.text.substr(begin, end - begin));
  return parts;
}

std::vector<std::string> learnt_by(const std::string& name, const Json& messages) {
  const ModelWith model(golden_template(name));
  return learnt(ChatFormat(model.dir()).render(conversation(messages), "here"));
}

const Json& two_exchanges() {
  static const Json messages = {say("system", "Be short."), say("user", "Who?"),
                                say("assistant", "Me."), say("user", "Sure?"),
                                say("assistant", "Yes.")};
  return messages;
}

TEST(ChatFormat, LearnsTheAssistantsTurnsToTheirEnds) {
  EXPECT_THAT(learnt_by("prunus_chatml", two_exchanges()),
              ElementsAre("Me.<|im_end|>\n", "Yes.<|im_end|>\n"));
  EXPECT_THAT(learnt_by("qwen2_5", two_exchanges()),
              ElementsAre("Me.<|im_end|>\n", "Yes.<|im_end|>\n"));
  EXPECT_THAT(learnt_by("llama3_2", two_exchanges()),
              ElementsAre("Me.<|eot_id|>", "Yes.<|eot_id|>"));
  EXPECT_THAT(learnt_by("prunus_llama2", two_exchanges()), ElementsAre(" Me. </s>", " Yes. </s>"));
  EXPECT_THAT(learnt_by("phi3", two_exchanges()), ElementsAre("Me.<|end|>\n", "Yes.<|end|>\n</s>"));
  EXPECT_THAT(learnt_by("gemma3", two_exchanges()),
              ElementsAre("Me.<end_of_turn>\n", "Yes.<end_of_turn>\n"));
}

// These write a turn otherwise once others follow it, or begin the next one with a thought.
TEST(ChatFormat, FindsTurnsThatChangeOnceOthersFollow) {
  EXPECT_THAT(learnt_by("qwen3", two_exchanges()),
              ElementsAre("Me.<|im_end|>\n", "<think>\n\n</think>\n\nYes.<|im_end|>\n"));
  const Json thoughts = {say("user", "Who?"), say("assistant", "<think>\nHm.\n</think>\n\nMe."),
                         say("user", "Sure?"), say("assistant", "<think>\nOh.\n</think>\n\nYes.")};
  EXPECT_THAT(learnt_by("qwen3", thoughts),
              ElementsAre("Me.<|im_end|>\n", "<think>\nOh.\n</think>\n\nYes.<|im_end|>\n"));
  EXPECT_THAT(learnt_by("deepseek_r1_distill", two_exchanges()),
              ElementsAre("Me.<｜end▁of▁sentence｜>", "Yes.<｜end▁of▁sentence｜>"));
}

// TRL's variants of templates mark what the assistant says; what is found in the originals must be
// the same. (Its variant of Qwen 2.5 counts the line end before the answer, too.)
TEST(ChatFormat, FindsWhatTemplatesWithBlocksMark) {
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(golden_dir())) {
    const std::string name = entry.path().stem().string();
    if (!fs::exists(golden_dir() + "/" + name + "_training.jinja")) continue;
    const ModelWith plain(golden_template(name));
    const ModelWith marked(golden_template(name + "_training"));
    const ChatFormat found(plain.dir());
    const ChatFormat given(marked.dir());
    for (const Json& one : read_json(golden_dir() + "/conversations.json")) {
      SCOPED_TRACE(name + ": " + one.at("name").get<std::string>());
      Conversation chat;
      ChatText expected;
      try {
        chat = conversation_of(one.at("variables"), "here");
        expected = given.render(chat, "here");
      } catch (const Error&) {
        continue;
      }
      const ChatText got = found.render(chat, "here");
      if (got.text != expected.text) continue;
      for (auto& [begin, end] : expected.learnt) begin += got.text[begin] == '\n' ? 1 : 0;
      EXPECT_EQ(learnt(got), learnt(expected));
      EXPECT_EQ(got.learnt, expected.learnt);
      ++compared;
    }
  }
  EXPECT_GE(compared, 15);
}

// Whatever the template: a turn that is found holds what was said last, and nothing of the user's.
TEST(ChatFormat, NeverLearnsTheUsersWords) {
  int turns = 0;
  for (const auto& entry : fs::directory_iterator(golden_dir())) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string name = entry.path().stem().string();
    SCOPED_TRACE(name);
    Json messages = two_exchanges();
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].at("role") == "user") messages[i]["content"] = "QUESTION";
    }
    const bool no_system = name == "gemma";
    if (no_system) messages.erase(0);
    const auto parts = learnt_by(name, messages);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_NE(parts[0].find("Me."), std::string::npos) << parts[0];
    EXPECT_NE(parts[1].find("Yes."), std::string::npos) << parts[1];
    for (const std::string& part : parts) {
      EXPECT_EQ(part.find("QUESTION"), std::string::npos) << part;
      EXPECT_EQ(part.find("Be short"), std::string::npos) << part;
      ++turns;
    }
  }
  EXPECT_GE(turns, 24);
}

TEST(ChatFormat, LeavesOutTurnsOfWeightZero) {
  Json messages = two_exchanges();
  messages[2]["weight"] = 0;
  messages[4]["weight"] = 1;
  EXPECT_THAT(learnt_by("prunus_chatml", messages), ElementsAre("Yes.<|im_end|>\n"));
  EXPECT_THAT(learnt_by("llama3_training", messages), ElementsAre("Yes.<|eot_id|>"));
}

TEST(ChatFormat, RefusesARecordThatTheTemplateRefuses) {
  const ModelWith model(golden_template("prunus_llama2"));
  expect_error(ErrorKind::Corrupt, "line 7: ", [&] {
    ChatFormat(model.dir()).render(conversation({say("user", "a"), say("user", "b")}), "line 7");
  });
}

TEST(ChatFormat, RefusesATurnThatItCannotFind) {
  const ModelWith model(
      "{% for m in messages %}{{ m.content if loop.last else m.content | length }}{% endfor %}");
  expect_error(ErrorKind::Unsupported, "turn 2", [&] {
    ChatFormat(model.dir())
        .render(conversation({say("user", "a"), say("assistant", "b"), say("user", "c")}),
                "line 7");
  });
}

TEST(ChatFormat, GivesTheTemplateItsTokensAndValues) {
  const ModelWith model("{{ bos_token }}{{ cls_token is defined }}{{ tools is none }}{{ mood }}",
                        {{"extra_special_tokens", {{"image_token", "<i>"}}}});
  Conversation chat = conversation(Json::array({say("user", "a")}));
  chat.variables = {{"mood", "glad"}};
  EXPECT_EQ(ChatFormat(model.dir()).render(chat, "here").text, "<s>FalseTrueglad");
}

TEST(ChatFormat, TakesTheTemplateFileBeforeTheSetting) {
  ModelWith model("setting");
  EXPECT_EQ(ChatFormat(model.dir()).render(conversation(Json::array({say("user", "a")})), "x").text,
            "setting");
  model.add("chat_template.jinja", "file");
  const ChatFormat format(model.dir());
  EXPECT_EQ(format.render(conversation(Json::array({say("user", "a")})), "x").text, "file");
  EXPECT_NE(format.description().at("source").get<std::string>().find("chat_template.jinja"),
            std::string::npos);
}

TEST(ChatFormat, ChoosesAmongNamedTemplatesByTools) {
  const Json list = {{{"name", "default"}, {"template", "plain"}},
                     {{"name", "tool_use"}, {"template", "tools"}}};
  const ModelWith listed("", {{"chat_template", list}});
  ModelWith files("setting");
  files.add("chat_template.jinja", "plain");
  files.add("additional_chat_templates/tool_use.jinja", "tools");
  for (const ModelWith* model : {&listed, static_cast<const ModelWith*>(&files)}) {
    const ChatFormat format(model->dir());
    Conversation chat = conversation(Json::array({say("user", "a")}));
    EXPECT_EQ(format.render(chat, "x").text, "plain");
    chat.tools = {{{"name", "f"}}};
    EXPECT_EQ(format.render(chat, "x").text, "tools");
  }
  ModelWith lone("");
  lone.add("additional_chat_templates/rag.jinja", "r");
  expect_error(ErrorKind::Unsupported, "rag", [&] {
    ChatFormat(lone.dir()).render(conversation(Json::array({say("user", "a")})), "x");
  });
}

TEST(ChatFormat, TakesAnotherTemplateInstead) {
  ModelWith model("");
  expect_error(ErrorKind::NotFound, "--chat-template", [&] { ChatFormat(model.dir()); });
  const Json hello = {say("user", "Hi"), say("assistant", "Ho")};
  EXPECT_EQ(ChatFormat(model.dir(), "chatml").render(conversation(hello), "x").text,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n");
  model.add("mine.jinja", kShort);
  const auto text =
      ChatFormat(model.dir(), model.dir() + "/mine.jinja").render(conversation(hello), "x");
  EXPECT_EQ(text.text, "<user>Hi<assistant>Ho");
  EXPECT_THAT(learnt(text), ElementsAre("Ho"));
  expect_error(ErrorKind::NotFound, "none.jinja", [&] { ChatFormat(model.dir(), "none.jinja"); });
}

TEST(ChatFormat, HasAHashOfItsTemplatesAndTokens) {
  const auto hash = [](const ModelWith& model) {
    return ChatFormat(model.dir()).description().at("sha256").get<std::string>();
  };
  EXPECT_EQ(hash(ModelWith("a")), hash(ModelWith("a")));
  EXPECT_NE(hash(ModelWith("a")), hash(ModelWith("b")));
  EXPECT_NE(hash(ModelWith("a")), hash(ModelWith("a", {{"bos_token", "<b>"}})));
}

}  // namespace
}  // namespace prunus::chat_format_test
