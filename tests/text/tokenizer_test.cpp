#include "prunus/text/tokenizer.h"

#include <thread>

#include <gmock/gmock.h>

#include "fixture.h"

namespace prunus::text::tokenizer_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(ByteLevelTokenizer, MergesTheLowestRankFirst) {
  const TestDirectory dir;
  const auto tokenizer = dir.load(byte_level_json());
  EXPECT_EQ(tokenizer->kind(), "byte-level-bpe");
  EXPECT_EQ(tokenizer->vocab_size(), 11);
  EXPECT_THAT(tokenizer->encode("abc"), ElementsAre(6));  // a b c -> ab c -> abc
  EXPECT_THAT(tokenizer->encode("bcab"), ElementsAre(5, 4));
  EXPECT_THAT(tokenizer->encode("a ab"), ElementsAre(0, 3, 4));  // "a", " ab"; Ġ a loses to a b
  EXPECT_THAT(tokenizer->encode("a a"), ElementsAre(0, 7));
  EXPECT_THAT(tokenizer->encode(""), IsEmpty());
}

TEST(ByteLevelTokenizer, SpellsCharactersAsBytesAndDecodesThemBack) {
  const TestDirectory dir;
  const auto tokenizer = dir.load(byte_level_json());
  EXPECT_THAT(tokenizer->encode("é"), ElementsAre(10));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("abc é a")), "abc é a");
  const std::vector<int64_t> half = {0, 8, 1};  // the first byte of é alone
  EXPECT_EQ(tokenizer->decode(half),
            "a\xEF\xBF\xBD"
            "b");
}

TEST(ByteLevelTokenizer, LeavesOutBytesThatNeitherVocabularyNorUnkCovers) {
  const TestDirectory dir;
  EXPECT_THAT(dir.load(byte_level_json())->encode("axb"), ElementsAre(4));
}

TEST(ByteLevelTokenizer, PutsASpaceInFrontWhereAsked) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["pre_tokenizer"]["add_prefix_space"] = true;
  const auto tokenizer = dir.load(document);
  EXPECT_THAT(tokenizer->encode("a"), ElementsAre(7));
  EXPECT_THAT(tokenizer->encode(" a"), ElementsAre(7));
}

TEST(ByteLevelTokenizer, IgnoresMergesForWholeWordsOfTheVocabulary) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["model"]["merges"] = {"b c"};
  EXPECT_THAT(dir.load(document)->encode("abc"), ElementsAre(0, 5));
  document["model"]["ignore_merges"] = true;
  EXPECT_THAT(dir.load(document)->encode("abc"), ElementsAre(6));
}

TEST(ByteLevelTokenizer, SplitsByARegularExpressionBeforeMerging) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "a|[^a]+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  EXPECT_THAT(dir.load(document)->encode("abc"), ElementsAre(0, 5));
}

TEST(LlamaTokenizer, PrependsAMarkAndFallsBackToBytes) {
  const TestDirectory dir;
  const auto tokenizer = dir.load(llama2_json());
  EXPECT_EQ(tokenizer->kind(), "bpe");
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_FALSE(tokenizer->eos_id());
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_THAT(tokenizer->encode("a"), ElementsAre(262));
  EXPECT_THAT(tokenizer->encode("ab a"), ElementsAre(259, 263, 262));  // "a b" has the lower rank
  EXPECT_THAT(tokenizer->encode("a  a"), ElementsAre(262, 259, 262));
  EXPECT_THAT(tokenizer->encode("\né"), ElementsAre(259, 3 + 10, 3 + 0xC3, 3 + 0xA9));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("ab a  \né")), "ab a  \né");
}

TEST(LlamaTokenizer, ShowsCutCharactersAsOneReplacementAByte) {
  const TestDirectory dir;
  const std::vector<int64_t> ids = {262, 3 + 0xE2, 3 + 0x96, 261};
  EXPECT_EQ(dir.load(llama2_json())->decode(ids),
            "a\xEF\xBF\xBD\xEF\xBF\xBD"
            "b");
}

TEST(LlamaTokenizer, FusesUnknownCharactersOnlyWhereToldTo) {
  const TestDirectory dir;
  auto document = llama2_json();
  document["model"]["byte_fallback"] = false;
  EXPECT_THAT(dir.load(document)->encode("xyb"), ElementsAre(259, 0, 261));
  document["model"]["fuse_unk"] = false;
  EXPECT_THAT(dir.load(document)->encode("xyb"), ElementsAre(259, 0, 0, 261));
}

TEST(AddedTokensOfATokenizer, AreRecognisedInTheText) {
  const TestDirectory dir;
  const auto tokenizer = dir.load(llama2_json());
  EXPECT_THAT(tokenizer->encode("a<s>a"), ElementsAre(262, 1, 262));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a</s>")), "a");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a</s>"), false), "a</s>");
}

TEST(AddedTokensOfATokenizer, ObeyTheirFlags) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["added_tokens"] = json::parse(R"([
      {"id": 11, "content": "<m>", "lstrip": true, "rstrip": true, "special": true},
      {"id": 12, "content": "ca", "single_word": true, "special": false, "normalized": false},
      {"id": 13, "content": "<m>c", "special": false, "normalized": false}])");
  const auto tokenizer = dir.load(document);
  EXPECT_EQ(tokenizer->vocab_size(), 14);
  EXPECT_THAT(tokenizer->encode("a <m>  b"), ElementsAre(0, 11, 1));
  EXPECT_THAT(tokenizer->encode("ca a"), ElementsAre(12, 7));
  EXPECT_THAT(tokenizer->encode("cab"), ElementsAre(2, 4));
  EXPECT_THAT(tokenizer->encode("<m>cb"), ElementsAre(13, 1));  // the longest wins
}

TEST(AddedTokensOfATokenizer, AreNormalisedWithTheTextWhereToldTo) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["normalizer"] = {{"type", "Lowercase"}};
  document["added_tokens"] =
      json::parse(R"([{"id": 11, "content": "CC", "normalized": true, "special": false},
                      {"id": 12, "content": "BB", "normalized": false, "special": false}])");
  const auto tokenizer = dir.load(document);
  EXPECT_THAT(tokenizer->encode("cCA"), ElementsAre(11, 0));
  EXPECT_THAT(tokenizer->encode("bBBB"), ElementsAre(1, 12, 1));
}

// As AutoTokenizer of transformers 5.24 gives: special_tokens_map.json goes before what
// tokenizer_config.json names where that has no added_tokens_decoder.
TEST(SpecialIds, ComeFromTheMapThenTheConfigThenTheModel) {
  const TestDirectory dir;
  dir.write("special_tokens_map.json", R"({"bos_token": "a", "eos_token": "b"})");
  dir.write("config.json", R"({"bos_token_id": 7, "eos_token_id": [5, 6]})");
  EXPECT_EQ(dir.load(byte_level_json())->bos_id(), 0);
  dir.write("tokenizer_config.json", R"({"bos_token": {"content": "c"}, "eos_token": null})");
  const auto tokenizer = dir.load(byte_level_json());
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_FALSE(tokenizer->adds_bos());
}

TEST(SpecialIds, ComeFromConfigJsonLast) {
  const TestDirectory dir;
  dir.write("config.json", R"({"bos_token_id": 7, "eos_token_id": [5, 6]})");
  const auto tokenizer = dir.load(byte_level_json());
  EXPECT_EQ(tokenizer->bos_id(), 7);
  EXPECT_EQ(tokenizer->eos_id(), 5);
}

// As AutoTokenizer of transformers 5.24: the template of tokenizer.json counts, the flag does not.
TEST(SpecialIds, AddBosAsTheTemplateSaysWhateverTheFlag) {
  const TestDirectory dir;
  dir.write("tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_TRUE(dir.load(llama2_json())->adds_bos());
  dir.write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "a"})");
  EXPECT_FALSE(dir.load(byte_level_json())->adds_bos());
}

TEST(SpecialIds, ThatOnlyTheConfigNamesAreAddedBehindTheVocabulary) {
  const TestDirectory dir;
  const int64_t size = dir.load(byte_level_json())->vocab_size();
  dir.write("tokenizer_config.json", R"({"bos_token": "zzz"})");
  const auto tokenizer = dir.load(byte_level_json());
  EXPECT_EQ(tokenizer->bos_id(), size);
  EXPECT_EQ(tokenizer->vocab_size(), size + 1);
  EXPECT_THAT(tokenizer->encode("zzz"), ElementsAre(size));
}

TEST(VocabAndMerges, GiveTheSameAsTheTokenizerJson) {
  const TestDirectory dir;
  dir.write("vocab.json", byte_level_json()["model"]["vocab"].dump());
  dir.write("merges.txt", "#version: 0.2\na b\nb c\r\nab c\nĠ a\nÃ ©\n");
  dir.write("tokenizer_config.json", R"({"bos_token": "c", "tokenizer_class": "GPT2Tokenizer"})");
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_THAT(tokenizer->encode("ab a é"), ElementsAre(4, 7, 3, 10));
  EXPECT_EQ(tokenizer->bos_id(), 2);
  dir.write("tokenizer_config.json", R"({"tokenizer_class": "CLIPTokenizer"})");
  expect_error(ErrorKind::Unsupported, "CLIPTokenizer", [&] { load_tokenizer(dir.path()); });
}

TEST(LoadTokenizer, SaysWhatIsMissing) {
  const TestDirectory dir;
  expect_error(ErrorKind::NotFound, "tokenizer.json", [&] { load_tokenizer(dir.path()); });
}

TEST(LoadTokenizer, TellsTiktokenRanksFromSentencePiece) {
  const TestDirectory dir;
  dir.write("tokenizer.model", "IQ== 0\nIg== 1\n");
  expect_error(ErrorKind::Unsupported, "tiktoken", [&] { load_tokenizer(dir.path()); });
  dir.write("tokenizer.model", "not a model at all");
  expect_error(ErrorKind::Corrupt, "sentencepiece", [&] { load_tokenizer(dir.path()); });
}

TEST(Encode, RefusesInvalidUtf8ByOffset) {
  const TestDirectory dir;
  expect_error(ErrorKind::InvalidArgument, "byte 2",
               [&] { dir.load(byte_level_json())->encode("ab\xFF"); });
}

TEST(Encode, MayRunInSeveralThreads) {
  const TestDirectory dir;
  const auto tokenizer = dir.load(byte_level_json());
  std::vector<std::vector<int64_t>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) result = tokenizer->encode("abc a ab bc é");
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_THAT(result, ElementsAre(6, 7, 3, 4, 3, 5, 3, 10));
}

}  // namespace
}  // namespace prunus::text::tokenizer_test
