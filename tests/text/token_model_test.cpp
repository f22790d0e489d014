#include "prunus/text/token_model.h"

#include "fixture.h"

namespace prunus::text::token_model_test {
namespace {

using nlohmann::json;

std::unique_ptr<TokenModel> read(const json& node) {
  return read_model(JsonView(node, "tokenizer.json: model"));
}

json bpe() {
  return {{"vocab", {{"a", 0}, {"b", 1}, {"ab", 4}}}, {"merges", json::array({"a b"})}};
}

json unigram() {
  return {{"type", "Unigram"}, {"vocab", json::parse(R"([["a", -1], ["b", -1], ["ab", -1.5]])")}};
}

TEST(ReadModel, TakesAModelWithoutATypeForBpe) {
  const auto model = read(bpe());
  EXPECT_EQ(model->kind(), "bpe");
  EXPECT_EQ(model->id_limit(), 5);
  EXPECT_EQ(model->id_of("ab"), 4);
  EXPECT_EQ(model->id_of("abc"), std::nullopt);
  ASSERT_NE(model->token_of(4), nullptr);
  EXPECT_EQ(*model->token_of(4), "ab");
  json named = bpe();
  named["type"] = "BPE";
  EXPECT_EQ(read(named)->kind(), "bpe");
}

TEST(ReadModel, GivesNoTokenForIdsThatTheVocabularyLeavesOut) {
  const auto model = read(bpe());
  for (const int64_t id : {int64_t{-1}, int64_t{2}, int64_t{5}, kMaxTokenId + 1}) {
    EXPECT_EQ(model->token_of(id), nullptr) << id;
  }
}

TEST(ReadModel, ReadsUnigramModels) {
  const auto model = read(unigram());
  EXPECT_EQ(model->kind(), "unigram");
  EXPECT_EQ(model->id_limit(), 3);
  EXPECT_FALSE(model->cuts_at_marks());
}

TEST(ReadModel, AppendsAWordsIdsToThoseThatAreThere) {
  for (const json& node : {bpe(), unigram()}) {
    std::vector<int64_t> ids = {7};
    const auto model = read(node);
    model->tokenize("", ids);
    EXPECT_EQ(ids.size(), 1u);
    model->tokenize("aba", ids);
    EXPECT_EQ(ids, (std::vector<int64_t>{7, *model->id_of("ab"), 0})) << model->kind();
  }
}

TEST(ReadModel, NamesATypeThatItDoesNotKnow) {
  for (const char* type : {"WordPiece", "WordLevel", "unigram"}) {
    expect_error(ErrorKind::Unsupported,
                 std::string("tokenizer.json: model.type: '") + type + "' is not supported", [&] {
                   read({{"type", type}});
                 });
  }
  expect_error(ErrorKind::Corrupt, "model.type: is number", [] { read({{"type", 2}}); });
  expect_error(ErrorKind::Corrupt, "model: is array, expected an object",
               [] { read(json::array()); });
}

TEST(ByteToken, IsTwoCapitalHexDigits) {
  EXPECT_EQ(byte_token(0), "<0x00>");
  EXPECT_EQ(byte_token(10), "<0x0A>");
  EXPECT_EQ(byte_token(255), "<0xFF>");
}

}  // namespace
}  // namespace prunus::text::token_model_test
