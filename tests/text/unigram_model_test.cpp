// Vocabulary, scores and errors; unigram_oracle_test.cpp holds the search against all cuts.
#include "prunus/text/unigram_model.h"

#include "fixture.h"

namespace prunus::text::unigram_model_test {
namespace {

using nlohmann::json;
using Ids = std::vector<int64_t>;

UnigramModel model_of(const char* vocab, const json& fields = json::object()) {
  json node = fields;
  node["vocab"] = json::parse(vocab);
  return UnigramModel(JsonView(node, "tokenizer.json: model"));
}

Ids tokenize(const UnigramModel& model, std::string_view word) {
  Ids ids;
  model.tokenize(word, ids);
  return ids;
}

TEST(UnigramVocabulary, NumbersPiecesAsTheFileListsThem) {
  const UnigramModel model = model_of(R"([["<unk>", 0], ["é", -1], ["", -2], ["é", -3]])");
  EXPECT_EQ(model.id_limit(), 4);
  EXPECT_EQ(*model.token_of(1), "é");
  EXPECT_EQ(*model.token_of(3), "é");
  EXPECT_EQ(model.id_of("é"), 3);  // of a piece listed twice the later one
  EXPECT_EQ(model.id_of("e"), std::nullopt);
  EXPECT_EQ(model.token_of(4), nullptr);
  EXPECT_EQ(model.token_of(-1), nullptr);
}

TEST(UnigramScores, PreferTheLargestSumNotTheLongestPiece) {
  const char* vocab =
      R"([["a", -1], ["b", -2], ["ab", %s], ["中", -1], ["中文", -1.5], ["文", -1]])";
  const auto with = [&](const char* score) {
    std::string text = vocab;
    text.replace(text.find("%s"), 2, score);
    return model_of(text.c_str());
  };
  EXPECT_EQ(tokenize(with("-2.9"), "ab"), Ids{2});
  EXPECT_EQ(tokenize(with("-3.1"), "ab"), (Ids{0, 1}));
  EXPECT_EQ(tokenize(with("-3"), "a中文b中"), (Ids{0, 4, 1, 3}));
}

TEST(UnigramScores, AreAddedInDouble) {
  // In single precision both sums would be −16777216.
  EXPECT_EQ(tokenize(model_of(R"([["a", -16777216], ["b", -0.25], ["ab", -16777216.125]])"), "ab"),
            Ids{2});
  EXPECT_EQ(tokenize(model_of(R"([["a", -16777216], ["b", -0.25], ["ab", -16777216.375]])"), "ab"),
            (Ids{0, 1}));
}

// The lowest score is −6, so an unknown 'a' costs 16. "abcdef" as three pieces costs 18; as the
// unknown and "bcdef" 16 and what that costs.
TEST(UnigramScores, PutTheUnknownTenBelowTheLowest) {
  const auto cut = [](const char* rest) {
    const std::string vocab =
        std::string(R"([["<unk>", 0], ["ab", -6], ["cd", -6], ["ef", -6], ["bcdef", )") + rest +
        "]]";
    return tokenize(model_of(vocab.c_str(), {{"unk_id", 0}}), "abcdef");
  };
  EXPECT_EQ(cut("-1.9"), (Ids{0, 4}));
  EXPECT_EQ(cut("-2.1"), (Ids{1, 2, 3}));
}

TEST(UnigramScores, NeverMakeACharacterUnknownThatIsAPiece) {
  const UnigramModel model = model_of(R"([["<unk>", 0], ["a", -100], ["b", 0]])", {{"unk_id", 0}});
  EXPECT_EQ(tokenize(model, "aba"), (Ids{1, 2, 1}));
  EXPECT_EQ(tokenize(model, "axa"), (Ids{1, 0, 1}));
}

TEST(UnigramModel, NamesTheFieldThatMakesNoSense) {
  const auto refuse = [](const char* vocab, const json& fields, const std::string& part) {
    expect_error(ErrorKind::Corrupt, part, [&] { model_of(vocab, fields); });
  };
  const char* good = R"([["a", -1], ["b", -1]])";
  refuse("{}", json::object(), "tokenizer.json: model.vocab: is object, expected an array");
  refuse(R"([["a", -1], ["b"]])", json::object(), "vocab: entry 1 is not [piece, score]");
  refuse(R"([["a", -1], [7, -1]])", json::object(), "vocab: entry 1 is not [piece, score]");
  refuse(R"([["a", null]])", json::object(), "vocab: entry 0 is not [piece, score]");
  refuse(good, {{"unk_id", -1}}, "model.unk_id: -1 is out of range [0, 2)");
  refuse(good, {{"unk_id", "0"}}, "model.unk_id: is \"0\", expected an integer");
  refuse(good, {{"byte_fallback", 1}}, "model.byte_fallback: is number, expected true or false");
  const json none = {{"type", "Unigram"}};
  expect_error(ErrorKind::Corrupt, "tokenizer.json: model: has no 'vocab'",
               [&] { UnigramModel(JsonView(none, "tokenizer.json: model")); });
}

}  // namespace
}  // namespace prunus::text::unigram_model_test
