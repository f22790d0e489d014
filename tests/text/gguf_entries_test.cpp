// Tokenizers of Hugging Face directories as GGUF metadata.
#include <gmock/gmock.h>

#include "prunus/text/gguf_pre_tokenizers.h"
#include "prunus/text/gguf_tokenizer.h"
#include "prunus/text/gguf_tokenizer_entries.h"
#include "prunus/text/pre_tokenizer.h"

#include "fixture.h"
#include "gguf_fixture.h"
#include "tests/support/expect_error.h"

namespace prunus::text::gguf_entries_test {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

GgufVocabulary written(const std::string& model, const GgufTokenizerOptions& options = {}) {
  const auto entries = gguf_tokenizer_entries(model, options);
  GgufMetadata metadata;
  for (const GgufEntry& entry : entries) metadata.emplace(entry.key(), entry.value());
  return read_gguf_vocabulary(metadata, "written.gguf");
}

constexpr const char* kEos = R"({"eos_token": "</s>"})";  // else a GGUF reader takes id 2 for it

void expect_same_ids(const TestDirectory& dir, const std::vector<std::string>& texts) {
  const auto before = load_tokenizer(dir.path());
  const auto after = make_gguf_tokenizer(written(dir.path()), "written.gguf");
  for (const std::string& text : texts)
    EXPECT_EQ(before->encode(text), after->encode(text)) << text;
  EXPECT_EQ(before->prefix_ids(), after->prefix_ids());
  EXPECT_EQ(before->suffix_ids(), after->suffix_ids());
  EXPECT_EQ(before->bos_id(), after->bos_id());
  EXPECT_EQ(before->eos_id(), after->eos_id());
}

TEST(GgufPreTokenizers, EachRuleIsReadAndFoundByItsFirstName) {
  for (const GgufPreTokenizer& each : gguf_pre_tokenizers()) {
    const json part = each.part();
    const PreTokenizer reads(JsonView(part, std::string(each.names.front())));
    EXPECT_TRUE(reads.byte_level());
    EXPECT_EQ(gguf_pre_tokenizer_name({.pre_tokenizer = part,
                                       .nfc = each.nfc,
                                       .ignore_merges = each.ignore_merges,
                                       .has_bos = !each.no_bos}),
              each.names.front());
    for (const auto name : each.names) EXPECT_EQ(find_gguf_pre_tokenizer(name), &each) << name;
  }
  EXPECT_EQ(find_gguf_pre_tokenizer("plum"), nullptr);
}

TEST(GgufPreTokenizers, CutAsTheirNamesSay) {
  const auto words = [](const char* name, const char* text) {
    const json part = find_gguf_pre_tokenizer(name)->part();
    const PreTokenizer pre(JsonView(part, name));
    const Words split = pre.split(text, true);
    std::vector<std::string> found;
    for (const auto& word : split.words) found.emplace_back(word.text);
    return found;
  };
  EXPECT_THAT(words("llama-bpe", "I'LL 12345"), ElementsAre("I", "'LL", " ", "123", "45"));
  EXPECT_THAT(words("qwen2", "I'LL 12"), ElementsAre("I", "'LL", " ", "1", "2"));
  EXPECT_THAT(words("gpt-2", "I'll 12345"), ElementsAre("I", "'ll", " 12345"));
  EXPECT_THAT(words("smollm", "a  12"), ElementsAre("a", "  ", "1", "2"));
  EXPECT_THAT(words("default", "a 1234!?b"), ElementsAre("a", " ", "123", "4", "!?", "b"));
  EXPECT_THAT(words("gpt-4o", "HTTPServer don't"), ElementsAre("HTTPServer", " don't"));
  EXPECT_THAT(words("tekken", "fooBar"), ElementsAre("foo", "Bar"));
  EXPECT_THAT(words("bloom", "a,b c"), ElementsAre("a", ",", "b", " c"));
  EXPECT_THAT(words("deepseek-llm", "a b中文1!"), ElementsAre("a", " b", "中文", "1", "!"));
  EXPECT_THAT(words("falcon", "12345"), ElementsAre("123", "45"));
}

TEST(GgufEntries, KeepAByteLevelTokenizer) {
  const TestDirectory dir;
  json document = byte_level_json();
  document["added_tokens"] = json::parse(
      R"([{"id": 11, "content": "<end>", "special": true, "normalized": false},
          {"id": 12, "content": "<think>", "special": false, "normalized": false}])");
  dir.write("tokenizer_config.json", R"({"eos_token": "<end>"})");
  dir.write("tokenizer.json", document.dump());
  const auto vocabulary = written(dir.path());
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  EXPECT_EQ(vocabulary.tokens[8], "Ã");
  EXPECT_EQ(vocabulary.types[11], GgufTokenType::Control);
  EXPECT_EQ(vocabulary.types[12], GgufTokenType::UserDefined);
  EXPECT_EQ(vocabulary.eos, 11);
  EXPECT_THAT(vocabulary.merges.front(), ::testing::Pair("a", "b"));
  expect_same_ids(dir, {"abc abc é", "a<end>b <think>c", ""});
}

TEST(GgufEntries, KeepASentencePieceTokenizerWithoutScores) {
  const TestDirectory dir;
  dir.write("tokenizer_config.json", kEos);
  dir.load(llama2_json());
  const auto vocabulary = written(dir.path());
  EXPECT_EQ(vocabulary.kind, GgufVocabulary::Kind::SentencePiece);
  EXPECT_EQ(vocabulary.types[1], GgufTokenType::Control);
  EXPECT_EQ(vocabulary.types[3], GgufTokenType::Byte);
  EXPECT_TRUE(vocabulary.adds_space);
  EXPECT_TRUE(vocabulary.adds_bos);
  expect_same_ids(dir, {"ab a", "  b", "é</s>a", "a<s>ab"});
}

TEST(GgufEntries, ScorePiecesInTheOrderOfTheirMerges) {
  const TestDirectory dir;
  dir.write("tokenizer_config.json", kEos);
  json document = llama2_json();
  document["model"]["merges"] = {"▁ a", "a b", "▁ ▁"};
  dir.load(document);
  const auto scores = written(dir.path()).scores;
  EXPECT_GT(scores[262], scores[263]);  // ▁a, ab
  EXPECT_GT(scores[263], scores[264]);  // ▁▁
  EXPECT_GT(scores[264], scores[260]);  // a, which nothing makes
  expect_same_ids(dir, {"ab", " ab"});
}

TEST(GgufEntries, KeepAUnigramTokenizer) {
  const TestDirectory dir;
  const std::string path = dir.write("first.gguf", unigram_parts().bytes());
  for (const auto& [name, contents] : gguf_tokenizer_files(*GgufFile::open(path))) {
    dir.write(name, contents);
  }
  EXPECT_EQ(written(dir.path()).kind, GgufVocabulary::Kind::Unigram);
  expect_same_ids(dir, {"a b", "ab", "aca  "});
}

TEST(GgufEntries, FillTheVocabularyUpToTheEmbedding) {
  const TestDirectory dir;
  dir.load(byte_level_json());
  const auto vocabulary = written(dir.path(), {.vocab_size = 14});
  EXPECT_EQ(vocabulary.tokens.size(), 14);
  EXPECT_EQ(vocabulary.tokens[13], "[PAD13]");
  EXPECT_EQ(vocabulary.types[11], GgufTokenType::Unused);
  EXPECT_EQ(make_gguf_tokenizer(vocabulary, "x")->vocab_size(), 11);
}

TEST(GgufEntries, CopyThoseOfAGgufFile) {
  const TestDirectory dir;
  auto parts = bpe_parts("llama-bpe");
  parts.set(GgufEntry::text("tokenizer.huggingface.json", "{}"));
  parts.set(GgufEntry::text("general.name", "x"));
  const std::string path = dir.write("model.gguf", parts.bytes());
  const auto entries = gguf_tokenizer_entries(path);
  EXPECT_EQ(entries.size(), 7);  // all but general.name
  const auto filled = written(path, {.vocab_size = 12});
  EXPECT_EQ(filled.tokens.size(), 12);
  EXPECT_EQ(filled.types[9], GgufTokenType::UserDefined);
  EXPECT_EQ(filled.merges.size(), 2);
  EXPECT_EQ(filled.pre, "llama-bpe");
  test::expect_error(ErrorKind::InvalidArgument, "names its own tokenizer.ggml.pre",
                     [&] { written(path, {.pre = "qwen2"}); });
}

TEST(GgufEntries, HoldTemplateAndMoreEnds) {
  const TestDirectory dir;
  dir.write("tokenizer_config.json", R"({"eos_token": "a", "pad_token": "b"})");
  dir.write("generation_config.json", R"({"eos_token_id": [0, 2, 4]})");
  dir.write("chat_template.jinja", "{{ messages }}");
  dir.load(byte_level_json());
  const auto vocabulary = written(dir.path());
  EXPECT_EQ(vocabulary.eos, 0);
  EXPECT_EQ(vocabulary.eot, 2);
  EXPECT_EQ(vocabulary.eom, 4);
  EXPECT_EQ(vocabulary.pad, 1);
  EXPECT_EQ(vocabulary.chat_templates.at("default"), "{{ messages }}");
}

TEST(GgufEntries, TakeANameForUnknownWords) {
  const TestDirectory dir;
  json document = byte_level_json();
  document["pre_tokenizer"] = json::parse(
      R"({"type": "Sequence", "pretokenizers": [
          {"type": "Split", "pattern": {"Regex": "[ab]"}, "behavior": "Isolated", "invert": false},
          {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  dir.load(document);
  test::expect_error(ErrorKind::Unsupported, "--pre", [&] { written(dir.path()); });
  EXPECT_EQ(written(dir.path(), {.pre = "qwen2"}).pre, "qwen2");
  test::expect_error(ErrorKind::InvalidArgument, "pre 'plum' is not known",
                     [&] { written(dir.path(), {.pre = "plum"}); });
}

TEST(GgufEntries, RefuseWhatLlamaCppDoesNotHave) {
  const TestDirectory dir;
  const auto refused = [&](json document, const char* part, GgufTokenizerOptions options = {}) {
    dir.load(document);
    test::expect_error(ErrorKind::Unsupported, part, [&] { written(dir.path(), options); });
  };
  json lower = byte_level_json();
  lower["normalizer"] = {{"type", "Lowercase"}};
  refused(lower, "normalizer Lowercase");
  json spaced = byte_level_json();
  spaced["pre_tokenizer"]["add_prefix_space"] = true;
  refused(spaced, "pre_tokenizer");
  json ignoring = llama2_json();
  ignoring["model"]["ignore_merges"] = true;
  refused(ignoring, "ignore_merges");
  json bytes = llama2_json();
  bytes["model"]["byte_fallback"] = false;
  refused(bytes, "without <0x00>");
  dir.load(byte_level_json());
  test::expect_error(ErrorKind::InvalidArgument, "11 tokens, but the embedding 10 rows",
                     [&] { written(dir.path(), {.vocab_size = 10}); });
}

TEST(GgufEntries, NameWhatIsMissing) {
  const TestDirectory dir;
  test::expect_error(ErrorKind::NotFound, "no tokenizer", [&] { written(dir.path()); });
}

}  // namespace
}  // namespace prunus::text::gguf_entries_test
