// The stages of a BPE tokenizer, each alone.
#include <gmock/gmock.h>

#include "prunus/text/added_tokens.h"
#include "prunus/text/bpe_model.h"
#include "prunus/text/byte_level.h"
#include "prunus/text/normalizer.h"
#include "prunus/text/pre_tokenizer.h"
#include "prunus/text/token_decoder.h"
#include "prunus/text/utf8.h"
#include "prunus/text/word_cache.h"

#include "fixture.h"

namespace prunus::text::tokenizer_parts_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;

std::string normalize(const char* spec, std::string_view text) {
  const json node = json::parse(spec);
  return Normalizer(JsonView(node, "test")).apply(text);
}

std::vector<std::string> words(const char* spec, std::string_view text, bool at_start = true) {
  const json node = json::parse(spec);
  const Words cut = PreTokenizer(JsonView(node, "test")).split(text, at_start);
  std::vector<std::string> list;
  for (const auto& word : cut.words) list.emplace_back(word.text);
  return list;
}

std::string decode(const char* spec, const std::vector<std::string>& tokens) {
  const json node = json::parse(spec);
  return TokenDecoder(JsonView(node, "test")).decode(tokens);
}

TEST(Utf8, FindsTheFirstBrokenByte) {
  EXPECT_FALSE(first_invalid_utf8("plain, é, 中, \U0001F600"));
  EXPECT_EQ(first_invalid_utf8("12345678\x80"), 8u);
  EXPECT_EQ(first_invalid_utf8("a\xC0\xAF"), 1u);         // overlong
  EXPECT_EQ(first_invalid_utf8("\xED\xA0\x80"), 0u);      // surrogate
  EXPECT_EQ(first_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(first_invalid_utf8("ab\xE4\xB8"), 2u);        // cut
}

TEST(Utf8, RepairsEachMaximalBrokenSequenceOnce) {
  EXPECT_EQ(repair_utf8("a\xE4\xB8"
                        "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(repair_utf8("\x80\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(repair_utf8("\xF0\x9F\x98"), "\xEF\xBF\xBD");
}

TEST(Normalizers, DoWhatTheirNamesSay) {
  EXPECT_EQ(normalize(R"({"type": "NFC"})", "xe\u0301\u0323y\u212B"), "x\u1EB9\u0301y\u00C5");
  EXPECT_EQ(normalize(R"({"type": "NFD"})", "a\u00E9"), "ae\u0301");
  EXPECT_EQ(normalize(R"({"type": "NFKC"})", "\uFB01\u00A0x"), "fi x");
  EXPECT_EQ(normalize(R"({"type": "NFKD"})", "\u00BD"), "1\u20442");
  EXPECT_EQ(normalize(R"({"type": "NFC"})", "\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(normalize(R"({"type": "Lowercase"})", "ÀB\u0130"), "àbi\u0307");
  EXPECT_EQ(
      normalize(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " \u3000a "),
      "a ");
  EXPECT_EQ(normalize(R"({"type": "Prepend", "prepend": "_"})", ""), "");
  EXPECT_EQ(
      normalize(R"({"type": "Replace", "pattern": {"String": "aa"}, "content": "b"})", "aaaxa"),
      "baxa");
}

TEST(Normalizers, ReplaceExpressionsByTextAsItStands) {
  EXPECT_EQ(normalize(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "$0"})",
                      "a  b   c d"),
            "a$0b$0c d");
}

TEST(Normalizers, DropWhatNmtAndAccentRulesDrop) {
  EXPECT_EQ(normalize(R"({"type": "Nmt"})", "a\tb\x01\u200bc\x0b\u2581\uFEFF\u00a0"),
            "a b c  \u00a0");
  EXPECT_EQ(normalize(R"({"type": "StripAccents"})", "e\u0301\u0489\u093Ex\u00E9"), "ex\u00E9");
}

TEST(Normalizers, MapClustersByTheirShortestMappedBeginning) {
  // A double array by hand: 'a' (0x61) -> "bc". The root's offset is 1, so 'a' lies at 1 ^ 0x61 =
  // 0x60, has a leaf, and an offset of 0x60 ^ 2 puts its value 0 at 2.
  std::string units(4 * 0x61, '\0');
  const auto set = [&](size_t at, uint32_t value) {
    for (size_t i = 0; i < 4; ++i) units[4 * at + i] = static_cast<char>(value >> 8 * i & 0xFF);
  };
  set(0, 1u << 10);
  set(0x60, (0x60u ^ 2u) << 10 | 1u << 8 | 0x61u);
  set(2, 1u << 31);
  std::string blob("\x84\x01\0\0", 4);  // 388 bytes
  blob += units + std::string("bc\0", 3);
  const json node = {{"type", "Precompiled"}, {"precompiled_charsmap", base64(blob)}};
  const Normalizer normalizer(JsonView(node, "test"));
  EXPECT_EQ(normalizer.apply("xaa"), "xbcbc");
  EXPECT_EQ(normalizer.apply("a\u0301x"), "bcx");  // the mark goes with its cluster
  EXPECT_EQ(normalizer.apply("a\u0301\u0301\u0301"),
            "bc\u0301\u0301\u0301");  // 7 bytes: one by one
}

TEST(PreTokenizers, SplitAtSpacesWordsAndPunctuation) {
  EXPECT_THAT(words(R"({"type": "WhitespaceSplit"})", " a\u3000b. "), ElementsAre("a", "b."));
  EXPECT_THAT(words(R"({"type": "Whitespace"})", "it's  5_x!? é"),
              ElementsAre("it", "'", "s", "5_x", "!?", "é"));
  EXPECT_THAT(words(R"({"type": "Punctuation"})", "a,.b+。"),
              ElementsAre("a", ",", ".", "b", "+", "。"));
  EXPECT_THAT(words(R"({"type": "Punctuation", "behavior": "Contiguous"})", "a,.b"),
              ElementsAre("a", ",.", "b"));
  EXPECT_THAT(words(R"({"type": "CharDelimiterSplit", "delimiter": "-"})", "a-b--c"),
              ElementsAre("a", "b", "c"));
}

TEST(PreTokenizers, SplitInEveryBehavior) {
  const auto split = [](const std::string& behavior) {
    return words(
        (R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")" + behavior + "\"}")
            .c_str(),
        "a--b-");
  };
  EXPECT_THAT(split("Removed"), ElementsAre("a", "b"));
  EXPECT_THAT(split("Isolated"), ElementsAre("a", "-", "-", "b", "-"));
  EXPECT_THAT(split("MergedWithPrevious"), ElementsAre("a-", "-", "b-"));
  EXPECT_THAT(split("MergedWithNext"), ElementsAre("a", "-", "-b", "-"));
  EXPECT_THAT(split("Contiguous"), ElementsAre("a", "--", "b", "-"));
  EXPECT_THAT(words(R"({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed",
                        "invert": true})",
                    "ab 1cd"),
              ElementsAre("ab", "cd"));
}

TEST(PreTokenizers, SplitDigits) {
  EXPECT_THAT(words(R"({"type": "Digits", "individual_digits": true})", "a12½"),
              ElementsAre("a", "1", "2", "½"));
  EXPECT_THAT(words(R"({"type": "Digits", "individual_digits": false})", "12a3"),
              ElementsAre("12", "a", "3"));
}

TEST(PreTokenizers, SplitAtMarksAndPrependThem) {
  EXPECT_THAT(
      words(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})", "a  b"),
      ElementsAre("▁a", "▁", "▁b"));
  const char* first =
      R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})";
  EXPECT_THAT(words(first, "a b"), ElementsAre("▁a▁b"));
  EXPECT_THAT(words(first, "a b", false), ElementsAre("a▁b"));
  EXPECT_THAT(
      words(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})", " a"),
      ElementsAre("▁a"));
}

TEST(PreTokenizers, CutGpt2Words) {
  EXPECT_THAT(words(R"({"type": "ByteLevel", "add_prefix_space": false})", "I'm  42 ok!\n \n"),
              ElementsAre("I", "'m", " ", " 42", " ok", "!", "\n \n"));
}

TEST(Regex, RewritesWhatTheLibrariesReadDifferently) {
  EXPECT_EQ(portable_pattern(R"([^\s\p{L}]\u3000)", "t"), R"([^\t-\r\x{85}\p{Z}\p{L}]\x{3000})");
  for (const char* pattern : {"[a&&b]", "[a[^b]]", "[a-[b]]", "[a[b-]]", R"(\h)", R"(\bx)",
                              "(?<n>a)", "a{2}+", R"([\S])", "a\\"}) {
    expect_error(ErrorKind::Unsupported, "regular expression",
                 [&] { portable_pattern(pattern, "t"); });
  }
  EXPECT_EQ(portable_pattern("[^(|[.,]x[;]]+", "t"), "[^(|.,x;]+");  // brackets inside add members
  EXPECT_EQ(portable_pattern("[]a]", "t"), "[\\]a]");
  EXPECT_THAT(words(R"({"type": "Split", "pattern": {"Regex": "^a|b$"}, "behavior": "Isolated"})",
                    "aab\nabb\n"),
              ElementsAre("a", "a", "b", "\n", "a", "b", "b", "\n"));  // of lines, as in Ruby
  EXPECT_THAT(words(R"({"type": "Split", "pattern": {"Regex": "\\s"}, "behavior": "Isolated"})",
                    "a\u0085b\u180Ec"),
              ElementsAre("a", "\u0085", "b\u180Ec"));
}

TEST(Decoders, PutTokensTogether) {
  EXPECT_EQ(decode("null", {"a", "b"}), "a b");
  EXPECT_EQ(decode(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})",
                   {"▁a", "▁b"}),
            "a b");
  EXPECT_EQ(decode(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})",
                   {"▁a", "▁b"}),
            " a b");
  EXPECT_EQ(decode(R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})", {"  a  ", " "}),
            " a ");
  EXPECT_EQ(decode(R"({"type": "ByteFallback"})", {"<0xC3>", "<0xa9>", "x", "<0xZZ>", "<0xFF>"}),
            "éx<0xZZ>\xEF\xBF\xBD");
}

TEST(ByteSpelling, CoversEveryByte) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string back;
  append_spelled(back, spell_bytes(all));
  EXPECT_EQ(back, all);
  EXPECT_EQ(spell_bytes(" \n!\xA0\xAD"), "ĠĊ!łŃ");
}

TEST(WordCache, KeepsWordsApartWhileItGrows) {
  WordCache cache;
  for (int64_t i = 0; i < 1000; ++i)
    cache.insert("word" + std::to_string(i), std::vector{i, i + 1});
  for (int64_t i = 0; i < 1000; ++i) {
    EXPECT_THAT(cache.find("word" + std::to_string(i)), ElementsAre(i, i + 1));
  }
  EXPECT_TRUE(cache.find("other").empty());
  cache.insert(std::string(300, 'x'), std::vector<int64_t>{1});
  EXPECT_TRUE(cache.find(std::string(300, 'x')).empty());
}

}  // namespace
}  // namespace prunus::text::tokenizer_parts_test
