#include "prunus/text/cut_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/token_trees.h"
#include "prunus/text/tokenizer_trainer.h"

#include "support/paths.h"
#include "tests/text/fixture.h"

namespace prunus::test::cut_vocabulary_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using text::byte_level_json;
using text::TestDirectory;

// a=0 b=1 c=2 Ġ=3 ab=4 bc=5 abc=6 Ġa=7 Ã=8 ©=9 Ã©=10, <s>=11, and <image>=12 beyond 12 rows.
const std::vector<int64_t> kKeep = {0, 1, 2, 3, 5, 8, 9, 11};

json read(const TempDir& dir, const char* name) {
  return json::parse(read_file(dir.path() + "/" + name));
}

TEST(CutVocabulary, RenumbersEveryFile) {
  const TestDirectory from;
  json tokenizer = byte_level_json();
  tokenizer["added_tokens"] = {{{"id", 11}, {"content", "<s>"}, {"special", true}},
                               {{"id", 12}, {"content", "<image>"}, {"special", true}}};
  tokenizer["padding"] = {{"pad_id", 11}, {"pad_token", "<s>"}};
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {11}}, {"tokens", {"<s>"}}}}}}};
  from.write("tokenizer.json", tokenizer.dump());
  from.write("vocab.json", tokenizer["model"]["vocab"].dump());
  from.write("merges.txt", "#version: 0.2\na b\nb c\nab c\nĠ a\nÃ ©\n");
  from.write("added_tokens.json", R"({"<s>": 11, "<image>": 12})");
  from.write(
      "tokenizer_config.json",
      R"({"added_tokens_decoder": {"11": {"content": "<s>"}, "12": {"content": "<image>"}}})");
  from.write("config.json",
             R"({"vocab_size": 12, "eos_token_id": 11, "image_token_index": 12,
                 "pad_token_id": -1, "vision": {"start_token_id": 5}})");
  from.write("generation_config.json", R"({"eos_token_id": [11, 5], "bad_words_ids": [[9], [8]]})");
  from.write("tokenizer.model", "pieces");
  const TempDir out;
  EXPECT_THAT(write_cut_vocabulary(from.path(), TokenNumbers(12, kKeep), out.path()),
              ElementsAre("tokenizer.model"));

  const json cut = read(out, "tokenizer.json");
  EXPECT_EQ(cut["model"]["vocab"], json::parse(R"({"a":0,"b":1,"c":2,"Ġ":3,"bc":4,"Ã":5,"©":6})"));
  EXPECT_EQ(cut["model"]["merges"], json::parse(R"(["b c"])"));
  EXPECT_EQ(cut["added_tokens"][0]["id"], 7);
  EXPECT_EQ(cut["added_tokens"][1]["id"], 8);
  EXPECT_EQ(cut["padding"]["pad_id"], 7);
  EXPECT_EQ(cut["post_processor"]["special_tokens"]["<s>"]["ids"], json::parse("[7]"));
  EXPECT_EQ(read(out, "vocab.json"), cut["model"]["vocab"]);
  EXPECT_EQ(read_file(out.path() + "/merges.txt"), "#version: 0.2\nb c\n");
  EXPECT_EQ(read(out, "added_tokens.json"), json::parse(R"({"<s>": 7, "<image>": 8})"));
  const json config = read(out, "tokenizer_config.json");
  EXPECT_EQ(config["added_tokens_decoder"]["7"]["content"], "<s>");
  EXPECT_EQ(config["added_tokens_decoder"]["8"]["content"], "<image>");
  EXPECT_EQ(config["added_tokens_decoder"].size(), 2u);
  EXPECT_EQ(read(out, "config.json"),
            json::parse(R"({"vocab_size": 12, "eos_token_id": 7, "image_token_index": 8,
                            "pad_token_id": -1, "vision": {"start_token_id": 4}})"));
  EXPECT_EQ(read(out, "generation_config.json"),
            json::parse(R"({"eos_token_id": [7, 4], "bad_words_ids": [[6], [5]]})"));
  EXPECT_FALSE(std::filesystem::exists(out.path() + "/tokenizer.model"));
  EXPECT_EQ(load_tokenizer(out.path())->prefix_ids(), std::vector<int64_t>{7});
}

// Both forms of one vocabulary, learned here: they still give the same ids.
TEST(CutVocabulary, CutsASentencepieceModelAlike) {
  const TestDirectory from;
  std::vector<std::string> documents = {read_file(source_path("README.md"))};
  TokenizerTrainOptions options;
  options.vocab_size = 600;
  train_tokenizer(documents, options, from.path());
  from.write("config.json", "{}");
  const TokenTrees trees(from.path(), 600);
  const auto keep = trees.choose(std::vector<int64_t>(600), 400);
  const TempDir out;
  EXPECT_THAT(write_cut_vocabulary(from.path(), TokenNumbers(600, keep), out.path()),
              testing::IsEmpty());
  const auto fast = load_tokenizer(out.path());
  std::filesystem::remove(out.path() + "/tokenizer.json");
  const auto pieces = load_tokenizer(out.path());
  EXPECT_EQ(fast->vocab_size(), 400);
  EXPECT_EQ(pieces->vocab_size(), 400);
  EXPECT_EQ(pieces->encode(documents[0]), fast->encode(documents[0]));
  EXPECT_EQ(fast->decode(fast->encode(documents[0]), false), documents[0]);
}

TEST(CutVocabulary, OfAUnigramModelLosesPieces) {
  const TestDirectory from;
  from.write("config.json", "{}");
  from.write("tokenizer.json", R"({"model": {"type": "Unigram", "unk_id": 1, "vocab":
    [["ab", -1.0], ["<unk>", 0.0], ["a", -2.0], ["b", -3.0]]}})");
  const TempDir out;
  write_cut_vocabulary(from.path(), TokenNumbers(4, {1, 2, 3}), out.path());
  EXPECT_EQ(read(out, "tokenizer.json")["model"], json::parse(R"({"type": "Unigram", "unk_id": 0,
    "vocab": [["<unk>", 0.0], ["a", -2.0], ["b", -3.0]]})"));
}

}  // namespace
}  // namespace prunus::test::cut_vocabulary_test
