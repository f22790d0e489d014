// What tokenizer_class and the flags beside a sentencepiece model change.
#include <gmock/gmock.h>

#include "prunus/text/tokenizer_trainer.h"

#include "fixture.h"

namespace prunus::text::sentencepiece_class_test {
namespace {

using testing::ElementsAre;

constexpr int64_t kPieces = 280;

// A directory with nothing but a small sentencepiece model and the given tokenizer_config.json.
std::unique_ptr<Tokenizer> load_with(const TestDirectory& dir, const std::string& config) {
  TokenizerTrainOptions options;
  options.vocab_size = kPieces;
  train_tokenizer({"the sea keeps the salt and the sun takes the sea"}, options, dir.path());
  for (const char* name : {"tokenizer.json", "special_tokens_map.json"}) {
    std::filesystem::remove(dir.path() + "/" + name);
  }
  dir.write("tokenizer_config.json", config);
  return load_tokenizer(dir.path());
}

TEST(SentencePieceClass, OfChatGlmPutsItsOwnTokensInFront) {
  const TestDirectory dir;
  const auto tokenizer = load_with(dir, R"({"tokenizer_class": "ChatGLMTokenizer"})");
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  EXPECT_EQ(tokenizer->vocab_size(), kPieces + 9);
  EXPECT_THAT(tokenizer->prefix_ids(), ElementsAre(kPieces + 1, kPieces + 3));
  EXPECT_EQ(tokenizer->document_start(), tokenizer->prefix_ids());
  EXPECT_FALSE(tokenizer->adds_bos());
  const std::vector<int64_t> ids = {kPieces + 1, kPieces + 3};
  EXPECT_EQ(tokenizer->decode(ids, false), "[gMASK]sop");
  EXPECT_EQ(tokenizer->decode(ids), "");
}

TEST(SentencePieceClass, OfChatGlmFindsItsTokensInATextOnlyWhereAFileListsThem) {
  const TestDirectory dir;
  const auto plain = load_with(dir, R"({"tokenizer_class": "ChatGLMTokenizer"})");
  EXPECT_THAT(plain->encode("<|user|>"), testing::Not(testing::Contains(kPieces + 6)));
  const auto listed = load_with(dir, R"({"tokenizer_class": "ChatGLMTokenizer",
                         "added_tokens_decoder": {"286": {"content": "<|user|>", "special": true}}})");
  EXPECT_THAT(listed->encode("<|user|>"), ElementsAre(kPieces + 6));
}

TEST(SentencePieceClass, OfBaichuanFollowsItsFlag) {
  const TestDirectory dir;
  const auto without =
      load_with(dir, R"({"tokenizer_class": "BaichuanTokenizer", "add_bos_token": false})");
  EXPECT_FALSE(without->adds_bos());
  EXPECT_THAT(without->prefix_ids(), ElementsAre());
  EXPECT_THAT(without->document_start(), ElementsAre(1));  // there is a BOS
  const auto with = load_with(dir, R"({"tokenizer_class": "BaichuanTokenizer"})");
  EXPECT_THAT(with->prefix_ids(), ElementsAre(1));
}

// A protocol buffer with these pieces; a type of 2 is <unk>.
std::string model_with(const std::vector<std::pair<std::string, char>>& pieces) {
  std::string model;
  for (const auto& [text, type] : pieces) {
    const std::string piece =
        std::string("\x0a") + static_cast<char>(text.size()) + text + "\x18" + type;
    model += std::string("\x0a") + static_cast<char>(piece.size()) + piece;
  }
  return model;
}

// The library's own check does not see it and throws from underneath.
TEST(SentencePieceModel, WithAnEmptyPieceIsCorrupt) {
  const TestDirectory dir;
  dir.write("tokenizer.model", model_with({{"<unk>", 2}, {"a", 1}}));
  EXPECT_EQ(load_tokenizer(dir.path())->vocab_size(), 2);
  dir.write("tokenizer.model", model_with({{"<unk>", 2}, {"", 1}, {"a", 1}}));
  expect_error(ErrorKind::Corrupt, "not a sentencepiece model",
               [&] { load_tokenizer(dir.path()); });
}

TEST(SentencePieceModel, WithAPieceThatIsNoUtf8IsCorrupt) {
  const TestDirectory dir;
  dir.write("tokenizer.model", model_with({{"<unk>", 2}, {"a\xff", 1}}));
  expect_error(ErrorKind::Corrupt, "piece 1 is not valid UTF-8",
               [&] { load_tokenizer(dir.path()); });
}

TEST(TemplateOfTokenizerJson, MayPutSeveralTokensInFront) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["post_processor"] = nlohmann::json::parse(R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "a"}}, {"SpecialToken": {"id": "b"}}, {"Sequence": {"id": "A"}},
      {"SpecialToken": {"id": "c"}}]})");
  EXPECT_THAT(dir.load(document)->prefix_ids(), ElementsAre(0, 1));
  dir.write("tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_THAT(dir.load(document)->prefix_ids(), ElementsAre(0, 1));  // the template counts
}

}  // namespace
}  // namespace prunus::text::sentencepiece_class_test
