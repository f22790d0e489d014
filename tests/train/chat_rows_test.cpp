// Training rows of conversations against those of transformers (tools/make_chat_goldens.py).
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/chat_format.h"
#include "prunus/train/train_data.h"

#include "support/paths.h"

namespace prunus::test::chat_rows_test {
namespace {

namespace fs = std::filesystem;

const std::string kTexts = source_path("tests/text/");

// A model directory with a tokenizer of the goldens and a chat template.
void make_model(const std::string& dir, const Json& one) {
  fs::create_directories(dir);
  const std::string tokenizer = one.at("tokenizer").get<std::string>();
  fs::copy(kTexts + "golden/" + tokenizer + "/tokenizer.json", dir + "/tokenizer.json");
  write_file(dir + "/tokenizer_config.json", one.at("config").dump());
  const std::string name = one.at("template").get<std::string>();
  fs::copy(kTexts + "chat/" + name + ".jinja", dir + "/chat_template.jinja");
}

TEST(ChatRows, HoldTheIdsAndTheMaskOfTransformers) {
  const Json conversations = read_json(kTexts + "chat/conversations.json");
  int rows = 0;
  for (const Json& one : read_json(kTexts + "chat/rows.json")) {
    const TempDir temp;
    const std::string dir = temp / "model";
    make_model(dir, one);
    const auto tokenizer = load_tokenizer(dir);
    DataOptions options{.chat = std::make_shared<const ChatFormat>(dir), .row_tokens = 4096};
    for (size_t i = 0; i < conversations.size(); ++i) {
      const Json& expected = one.at("rows")[i];
      const Json& variables = conversations[i].at("variables");
      // An answer of null is refused: "None" is no text to learn.
      if (expected.is_null() || conversations[i].at("name") == "null content") continue;
      SCOPED_TRACE(one.at("template").get<std::string>() + ": " +
                   conversations[i].at("name").get<std::string>());
      Json record = {{"messages", variables.at("messages")}, {"tools", variables.at("tools")}};
      if (variables.contains("enable_thinking")) {
        record["chat_template_kwargs"] = {{"enable_thinking", variables.at("enable_thinking")}};
      }
      const auto scored = expected.at("learnt").get<std::vector<uint8_t>>();
      if (std::count(scored.begin(), scored.end(), 1) == 0) continue;
      write_file(temp / "a.jsonl", record.dump() + "\n");
      const auto split = read_train_data(read_text_file(temp / "a.jsonl"), *tokenizer, options);
      ASSERT_EQ(split.train.size(), 1u);
      EXPECT_EQ(split.train[0].ids, expected.at("ids").get<std::vector<int64_t>>());
      EXPECT_EQ(split.train[0].scored, scored);
      ++rows;
    }
  }
  EXPECT_GE(rows, 20);
}

}  // namespace
}  // namespace prunus::test::chat_rows_test
