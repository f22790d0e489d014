// Every part of a tokenizer.json broken once: the message must name the part.
#include "fixture.h"

namespace prunus::text::tokenizer_corrupt_test {
namespace {

using nlohmann::json;

struct Broken {
  const char* name;
  ErrorKind kind;
  const char* path;   // JSON pointer to what is replaced or added
  const char* value;  // by what
  const char* part;   // the message contains
};

class BrokenTokenizer : public testing::TestWithParam<Broken> {};

TEST_P(BrokenTokenizer, IsRefusedByName) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document[json::json_pointer(GetParam().path)] = json::parse(GetParam().value);
  expect_error(GetParam().kind, GetParam().part, [&] { dir.load(document); });
}

constexpr auto kCorrupt = ErrorKind::Corrupt;
constexpr auto kUnsupported = ErrorKind::Unsupported;

INSTANTIATE_TEST_SUITE_P(
    Fields, BrokenTokenizer,
    testing::Values(
        Broken{"Model", kCorrupt, "/model", "null", "no 'model'"},
        Broken{"Type", kUnsupported, "/model/type", "\"WordPiece\"", "model.type: 'WordPiece'"},
        Broken{"Unigram", kCorrupt, "/model/type", "\"Unigram\"", "[piece, score]"},
        Broken{"UnigramEmpty", kCorrupt, "/model", R"({"type": "Unigram", "vocab": []})", "vocab"},
        Broken{"UnigramEntry", kCorrupt, "/model",
               R"({"type": "Unigram", "vocab": [["a", -1], ["b", "-1"]]})", "entry 1"},
        Broken{"UnigramUnk", kCorrupt, "/model",
               R"({"type": "Unigram", "vocab": [["a", -1]], "unk_id": 1})", "unk_id: 1"},
        Broken{"Dropout", kUnsupported, "/model/dropout", "0.1", "model.dropout"},
        Broken{"Prefix", kUnsupported, "/model/continuing_subword_prefix", "\"##\"", "subword"},
        Broken{"Suffix", kUnsupported, "/model/end_of_word_suffix", "\"</w>\"", "end_of_word"},
        Broken{"VocabType", kCorrupt, "/model/vocab", "[1]", "model.vocab"},
        Broken{"VocabEmpty", kCorrupt, "/model/vocab", "{}", "not empty"},
        Broken{"IdNegative", kCorrupt, "/model/vocab/a", "-1", "out of range"},
        Broken{"IdHuge", kCorrupt, "/model/vocab/a", "18446744073709551615", "out of range"},
        Broken{"IdText", kCorrupt, "/model/vocab/a", "\"0\"", "not an integer"},
        Broken{"IdTwice", kCorrupt, "/model/vocab/a", "1", "id 1 belongs to both"},
        Broken{"MergeText", kCorrupt, "/model/merges/0", "\"ab\"", "expected two tokens"},
        Broken{"MergeThree", kCorrupt, "/model/merges/0", "\"a b c\"", "expected two tokens"},
        Broken{"MergePair", kCorrupt, "/model/merges/0", "[\"a\"]", "not a pair"},
        Broken{"MergeUnknown", kCorrupt, "/model/merges/0", "\"a z\"", "'az'"},
        Broken{"Merges", kCorrupt, "/model/merges", "7", "model.merges"},
        Broken{"Unk", kCorrupt, "/model/unk_token", "\"nope\"", "unk_token"},
        Broken{"Flag", kCorrupt, "/model/fuse_unk", "1", "fuse_unk"},
        Broken{"Normalizer", kUnsupported, "/normalizer", R"({"type": "BertNormalizer"})",
               "normalizer: normalizer type 'BertNormalizer'"},
        Broken{"MapBase64", kCorrupt, "/normalizer",
               R"({"type": "Precompiled", "precompiled_charsmap": "a?"})", "not base64"},
        Broken{"MapShort", kCorrupt, "/normalizer",
               R"({"type": "Precompiled", "precompiled_charsmap": "AAAA"})", "too few"},
        Broken{"MapSize", kCorrupt, "/normalizer",  // 12 bytes said, 4 there
               R"({"type": "Precompiled", "precompiled_charsmap": "DAAAAAAAAAA="})", "12 bytes"},
        Broken{"Nested", kUnsupported, "/normalizer",
               R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nope"}]})",
               "normalizers[1]"},
        Broken{"RegexReplace", kUnsupported, "/normalizer",
               R"({"type": "Replace", "pattern": {"Regex": "\\b"}, "content": ""})", "pattern"},
        Broken{"EmptyReplace", kUnsupported, "/normalizer",
               R"({"type": "Replace", "pattern": {"String": ""}, "content": "x"})", "empty string"},
        Broken{"PreTokenizer", kUnsupported, "/pre_tokenizer", R"({"type": "Bert"})", "'Bert'"},
        Broken{"Behavior", kUnsupported, "/pre_tokenizer",
               R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "X"})", "behavior 'X'"},
        Broken{"Regex", kUnsupported, "/pre_tokenizer",
               R"({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"})", "PCRE2"},
        Broken{"Scheme", kUnsupported, "/pre_tokenizer",
               R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "x"})", "scheme"},
        Broken{"Replacement", kCorrupt, "/pre_tokenizer",
               R"({"type": "Metaspace", "replacement": "__"})", "one character"},
        Broken{"Decoder", kUnsupported, "/decoder", R"({"type": "CTC"})", "decoder type 'CTC'"},
        Broken{"DecoderType", kCorrupt, "/decoder", "3", "expected an object"},
        Broken{"AddedId", kCorrupt, "/added_tokens/0", R"({"id": 3000000000, "content": "x"})",
               "out of range"},
        Broken{"AddedEmpty", kCorrupt, "/added_tokens/0", R"({"id": 20, "content": ""})", "empty"},
        Broken{"AddedClash", kCorrupt, "/added_tokens/0", R"({"id": 1, "content": "x"})",
               "in the vocabulary"},
        Broken{"AddedMoved", kCorrupt, "/added_tokens/0", R"({"id": 20, "content": "a"})",
               "in the vocabulary"},
        Broken{"AddedFlag", kCorrupt, "/added_tokens/0",
               R"({"id": 20, "content": "x", "special": "yes"})", "special"},
        Broken{"Template", kCorrupt, "/post_processor",
               R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "zz"}}]})",
               "'zz'"}),
    [](const auto& broken) { return std::string(broken.param.name); });

TEST(HostileTokenizerFile, IsNotReadPastItsFaults) {
  const TestDirectory dir;
  const auto load = [&](const std::string& content) {
    dir.write("tokenizer.json", content);
    return load_tokenizer(dir.path());
  };
  expect_error(kCorrupt, "not valid JSON", [&] { load("{\"model\": "); });
  expect_error(kCorrupt, "expected an object", [&] { load("[]"); });
  expect_error(kCorrupt, "duplicate key 'a'",
               [&] { load(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})"); });
  expect_error(kCorrupt, "nested deeper", [&] { load(std::string(5000, '[')); });
  expect_error(kCorrupt, "not valid JSON", [&] { load("{\"model\": \"\xFF\"}"); });
}

TEST(HostileTokenizerFile, CannotGiveOneAddedTokenTwice) {
  const TestDirectory dir;
  auto document = byte_level_json();
  document["added_tokens"] =
      json::parse(R"([{"id": 11, "content": "x"}, {"id": 11, "content": "y"}])");
  expect_error(kCorrupt, "given twice", [&] { dir.load(document); });
  document["added_tokens"] =
      json::parse(R"([{"id": 11, "content": "x"}, {"id": 12, "content": "x"}])");
  expect_error(kCorrupt, "given twice", [&] { dir.load(document); });
}

}  // namespace
}  // namespace prunus::text::tokenizer_corrupt_test
