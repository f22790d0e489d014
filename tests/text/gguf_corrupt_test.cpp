// Every entry of a GGUF file's tokenizer damaged once: the message must name it.
#include <functional>
#include <limits>

#include "fixture.h"
#include "gguf_fixture.h"
#include "tests/support/expect_error.h"

namespace prunus::text::gguf_corrupt_test {
namespace {

using Damage = std::function<void(GgufParts&)>;

struct Broken {
  const char* name;
  ErrorKind kind;
  const char* part;
  Damage damage;
};

constexpr auto kCorrupt = ErrorKind::Corrupt;
const std::string kFront = GgufParts::kFront;

Damage set(const GgufEntry& entry) {
  return [entry](GgufParts& parts) { parts.set(entry); };
}
Damage drop(const char* name) {
  return [name](GgufParts& parts) { parts.drop(name); };
}
Damage texts(const char* name, const std::vector<std::string>& values) {
  return set(GgufEntry::texts(kFront + name, values));
}

class BrokenGguf : public testing::TestWithParam<Broken> {};
class BrokenSpmGguf : public BrokenGguf {};
class BrokenBpeGguf : public BrokenGguf {};
class BrokenUnigramGguf : public BrokenGguf {};

void expect_refused(GgufParts parts, const Broken& broken) {
  parts.tokenizer();  // good before
  broken.damage(parts);
  test::expect_error(broken.kind, broken.part, [&] { parts.tokenizer(); });
}

TEST_P(BrokenSpmGguf, IsRefusedByName) { expect_refused(spm_parts(), GetParam()); }
TEST_P(BrokenBpeGguf, IsRefusedByName) { expect_refused(bpe_parts("gpt-2"), GetParam()); }
TEST_P(BrokenUnigramGguf, IsRefusedByName) { expect_refused(unigram_parts(), GetParam()); }

std::vector<std::string> tokens_with(size_t id, const std::string& token) {
  auto tokens = spm_parts().vocabulary().tokens;
  tokens[id] = token;
  return tokens;
}
std::vector<float> scores_of(size_t count, float last) {
  std::vector<float> scores(count, 0);
  scores.back() = last;
  return scores;
}
std::vector<int32_t> types_of(size_t count, int32_t last) {
  std::vector<int32_t> types(count, 1);
  types.back() = last;
  return types;
}

const auto kName = [](const auto& test) { return std::string(test.param.name); };

INSTANTIATE_TEST_SUITE_P(
    Entries, BrokenSpmGguf,
    testing::Values(
        Broken{"NoModel", ErrorKind::NotFound, "has no tokenizer", drop("model")},
        Broken{"ModelNone", ErrorKind::NotFound, "has no tokenizer",
               set(GgufEntry::text(kFront + "model", "none"))},
        Broken{"ModelUnknown", ErrorKind::Unsupported, "'bert' is not supported",
               set(GgufEntry::text(kFront + "model", "bert"))},
        Broken{"ModelNumber", kCorrupt, "ggml.model: got uint32",
               set(GgufEntry::uint32(kFront + "model", 1))},
        Broken{"ModelUtf8", kCorrupt, "ggml.model: is not valid UTF-8",
               set(GgufEntry::text(kFront + "model", "\xFF"))},
        Broken{"NoTokens", ErrorKind::NotFound, "ggml.tokens: is missing", drop("tokens")},
        Broken{"TokensEmpty", kCorrupt, "ggml.tokens: has 0 tokens", texts("tokens", {})},
        Broken{"TokensNumbers", kCorrupt, "ggml.tokens: got an array of int32",
               set(GgufEntry::int32s(kFront + "tokens", {1, 2}))},
        Broken{"TokensText", kCorrupt, "ggml.tokens: got string",
               set(GgufEntry::text(kFront + "tokens", "a"))},
        Broken{"TokensUtf8", kCorrupt, "token 261 is not valid UTF-8",
               texts("tokens", tokens_with(261, "\xC3"))},
        Broken{"TokensTwice", kCorrupt, "tokens 260 and 261 are both 'a'",
               texts("tokens", tokens_with(261, "a"))},
        Broken{"TokenLong", kCorrupt, "token 261 has 2049 bytes",
               texts("tokens", tokens_with(261, std::string(2049, 'x')))},
        Broken{"TokensFewer", kCorrupt, "ggml.token_type: has 265 values, expected 264",
               texts("tokens",
                     [] {
                       auto tokens = spm_parts().vocabulary().tokens;
                       tokens.pop_back();
                       return tokens;
                     }())},
        Broken{"NoScores", kCorrupt, "ggml.scores: is missing", drop("scores")},
        Broken{"ScoresFewer", kCorrupt, "ggml.scores: has 264 values, expected 265",
               set(GgufEntry::float32s(kFront + "scores", scores_of(264, 0)))},
        Broken{"ScoresTexts", kCorrupt, "ggml.scores: got an array of string",
               texts("scores", std::vector<std::string>(265))},
        Broken{"ScoresNan", kCorrupt, "score of token 264 is not finite",
               set(GgufEntry::float32s(kFront + "scores",
                                       scores_of(265, std::numeric_limits<float>::quiet_NaN())))},
        Broken{"ScoresInfinite", kCorrupt, "score of token 264 is not finite",
               set(GgufEntry::float32s(kFront + "scores",
                                       scores_of(265, -std::numeric_limits<float>::infinity())))},
        Broken{"TypesFewer", kCorrupt, "ggml.token_type: has 1 values, expected 265",
               set(GgufEntry::int32s(kFront + "token_type", {1}))},
        Broken{"TypeNegative", kCorrupt, "token 264 has type -1",
               set(GgufEntry::int32s(kFront + "token_type", types_of(265, -1)))},
        Broken{"TypeUnknown", kCorrupt, "token 264 has type 7",
               set(GgufEntry::int32s(kFront + "token_type", types_of(265, 7)))},
        Broken{"BosLarge", kCorrupt, "ggml.bos_token_id: id 265 is out of range [0, 265)",
               set(GgufEntry::uint32(kFront + "bos_token_id", 265))},
        Broken{"EosHuge", kCorrupt, "ggml.eos_token_id: id 4294967295",
               set(GgufEntry::uint32(kFront + "eos_token_id", 0xFFFFFFFF))},
        Broken{"UnkText", kCorrupt, "ggml.unknown_token_id: got string",
               set(GgufEntry::text(kFront + "unknown_token_id", "0"))},
        Broken{"PadLarge", kCorrupt, "ggml.padding_token_id",
               set(GgufEntry::uint32(kFront + "padding_token_id", 1000))},
        Broken{"EotLarge", kCorrupt, "ggml.eot_token_id",
               set(GgufEntry::uint32(kFront + "eot_token_id", 1000))},
        Broken{"AddBosNumber", kCorrupt, "ggml.add_bos_token: got uint32",
               set(GgufEntry::uint32(kFront + "add_bos_token", 1))},
        Broken{"AddSpaceText", kCorrupt, "ggml.add_space_prefix: got string",
               set(GgufEntry::text(kFront + "add_space_prefix", "yes"))},
        Broken{"TemplateNumber", kCorrupt, "chat_template: got bool",
               set(GgufEntry::boolean("tokenizer.chat_template", true))},
        Broken{"TemplateUtf8", kCorrupt, "chat_template: is not valid UTF-8",
               set(GgufEntry::text("tokenizer.chat_template", "\xFE"))},
        Broken{"TemplateMissing", kCorrupt, "chat_template.rag: is missing",
               set(GgufEntry::texts("tokenizer.chat_templates", {"rag"}))},
        Broken{"NameNumber", kCorrupt, "general.name: got bool",
               set(GgufEntry::boolean("general.name", true))}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Entries, BrokenBpeGguf,
    testing::Values(
        Broken{"PreUnknown", ErrorKind::Unsupported,
               "ggml.pre: 'plum' is not supported; these are: a.x-4.0, bailingmoe",
               set(GgufEntry::text(kFront + "pre", "plum"))},
        Broken{"NoMerges", kCorrupt, "ggml.merges: is missing", drop("merges")},
        Broken{"MergesNumbers", kCorrupt, "ggml.merges: got an array of float32",
               set(GgufEntry::float32s(kFront + "merges", {1}))},
        Broken{"MergeOneWord", kCorrupt, "merge 1 is 'ab', expected two tokens",
               texts("merges", {"a b", "ab"})},
        Broken{"MergeThreeWords", kCorrupt, "merge 0 is 'a b a'", texts("merges", {"a b a"})},
        Broken{"MergeEmpty", kCorrupt, "merge 0 is ''", texts("merges", {""})},
        Broken{"MergeEndsInSpace", kCorrupt, "merge 0 is 'a '", texts("merges", {"a "})},
        Broken{"MergeUnknown", kCorrupt, "needs '21'", texts("merges", {"a b", "2 1"})},
        Broken{"MergeUtf8", kCorrupt, "merge 0 is not valid UTF-8", texts("merges", {"\xFF b"})}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Entries, BrokenUnigramGguf,
    testing::Values(Broken{"NoScores", kCorrupt, "ggml.scores: is missing", drop("scores")},
                    Broken{"CharsMapTexts", kCorrupt,
                           "precompiled_charsmap: expected an array of uint8",
                           texts("precompiled_charsmap", {"a"})},
                    Broken{"CharsMapShort", kCorrupt, "precompiled_charsmap",
                           set(GgufEntry::uint8s(kFront + "precompiled_charsmap", "ab"))},
                    Broken{"RemoveNumber", kCorrupt, "remove_extra_whitespaces: got uint32",
                           set(GgufEntry::uint32(kFront + "remove_extra_whitespaces", 1))}),
    kName);

}  // namespace
}  // namespace prunus::text::gguf_corrupt_test
