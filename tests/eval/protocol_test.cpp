#include "prunus/eval/protocol.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "prunus/base/files.h"
#include "prunus/eval/wikitext.h"

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::test::protocol_test {
namespace {

using Ids = std::vector<int64_t>;

// One token per byte, id = byte; BOS 256 and EOS 257 where there are any.
class Bytes : public Tokenizer {
 public:
  explicit Bytes(SpecialIds special = {.bos = 256, .eos = 257, .adds_bos = true}) {
    special_ = special;
    vocab_size_ = 258;
  }
  Ids encode(std::string_view text) const override {
    Ids ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const int64_t>, bool) const override { return ""; }
  std::string_view kind() const override { return "bytes"; }
};

// The text that sequences of bytes stand for, BOS as "^", a bar after each sequence.
std::string shown(const EvalText& text) {
  std::string all;
  for (const Ids& sequence : text.sequences) {
    for (const int64_t id : sequence) all += id == 256 ? '^' : static_cast<char>(id);
    all += '|';
  }
  return all;
}

EvalText made(const std::string& argument, const ProtocolOptions& options = {},
              int64_t context = 64) {
  return make_eval_text(parse_text_request(argument), options, Bytes(), context);
}

TEST(TextRequest, IsANameWithLengthAndFileOrAFile) {
  const TextRequest whole = parse_text_request("wikitext2@2048=some/file.raw");
  EXPECT_EQ(whole.text, NamedText::WikiText2);
  EXPECT_EQ(whole.seqlen, 2048);
  EXPECT_EQ(whole.path, "some/file.raw");
  EXPECT_EQ(parse_text_request("ptb@128").seqlen, 128);
  EXPECT_EQ(parse_text_request("ptb@128").path, "");
  EXPECT_EQ(parse_text_request("c4").text, NamedText::C4);
  EXPECT_FALSE(parse_text_request("c4").seqlen.has_value());
  EXPECT_EQ(parse_text_request("c4=a@b").path, "a@b");
  for (const char* file : {"text.txt", "wikitext2.txt", "dir/ptb", "mine@128"}) {
    EXPECT_EQ(parse_text_request(file).text, NamedText::None) << file;
    EXPECT_EQ(parse_text_request(file).path, file);
  }
}

TEST(TextRequest, RefusesALengthThatIsNoNumber) {
  for (const char* wrong : {"ptb@", "ptb@x", "ptb@12x", "ptb@1.5=f", "ptb@99999999999999999999"}) {
    expect_error(ErrorKind::InvalidArgument, "a number of tokens",
                 [&] { parse_text_request(wrong); });
  }
  expect_error(ErrorKind::InvalidArgument, "no file", [] { parse_text_request("ptb@8="); });
}

TEST(PerplexityRule, HasThreeNames) {
  for (const char* name : {"paper", "llm-pruner", "lm-eval-word"}) {
    EXPECT_EQ(name_of_rule(parse_perplexity_rule(name)), name);
  }
  expect_error(ErrorKind::InvalidArgument, "lm-eval-word", [] { parse_perplexity_rule("gptq"); });
}

TEST(FindText, LooksNamedTextsUpInTheFolder) {
  const TempDir dir;
  for (const char* name : {"wiki.test.joined.txt", "ptb.valid.txt", "c4-validation.jsonl"}) {
    write_file(dir / name, "x");
  }
  const auto find = [&](const char* name, PerplexityRule rule) {
    const ProtocolOptions options{.rule = rule, .text_dir = dir.path(), .seqlen = {}};
    return std::filesystem::path(find_text(parse_text_request(name), options)).filename().string();
  };
  const auto paper = PerplexityRule::Paper;
  EXPECT_EQ(find("wikitext2", paper), "wiki.test.joined.txt");
  EXPECT_EQ(find("c4", paper), "c4-validation.jsonl");
  EXPECT_EQ(find("ptb", paper), "ptb.valid.txt");
  expect_error(ErrorKind::NotFound, "wiki.test.raw",
               [&] { find("wikitext2", PerplexityRule::LmEvalWord); });
  write_file(dir / "wiki.test.raw", "x");
  write_file(dir / "ptb.test.txt", "x");
  EXPECT_EQ(find("wikitext2", paper), "wiki.test.raw");
  EXPECT_EQ(find("ptb", paper), "ptb.test.txt");
  EXPECT_EQ(find("ptb", PerplexityRule::LlmPruner), "ptb.valid.txt");
  expect_error(ErrorKind::InvalidArgument, "--text-dir",
               [] { find_text(parse_text_request("ptb@8"), {}); });
}

TEST(MakeEvalText, JoinsTheRowsOfWikiText) {
  const TempDir dir;
  write_file(dir / "w.raw", " \n a \nb\n");
  // Rows "", " a \n", "b\n" joined by two newlines.
  EXPECT_EQ(shown(made("wikitext2@5=" + dir / "w.raw")), "^\n\n a| \n\n\nb|");
  EXPECT_EQ(made("wikitext2@5=" + dir / "w.raw").protocol, "wikitext2@5");
  // Any other file is the joined string already.
  write_file(dir / "w.txt", " \n a \nb\n");
  EXPECT_EQ(shown(made("wikitext2@3=" + dir / "w.txt")), "^ \n| a |\nb\n|");
  write_file(dir / "w.jsonl", "{\"text\": \"\"}\n{\"text\": \"ab\"}\n");
  EXPECT_EQ(shown(made("wikitext2@5=" + dir / "w.jsonl")), "^\n\nab|");
}

TEST(MakeEvalText, JoinsPtbByBlanksOrAsLlmPrunerByEmptyLines) {
  const TempDir dir;
  const std::string file = dir / "p.txt";
  write_file(file, " ab c \n de \n");
  EXPECT_EQ(shown(made("ptb@8=" + file)), "^ab c de|");
  const EvalText other = made("ptb@9=" + file, {.rule = PerplexityRule::LlmPruner});
  EXPECT_EQ(shown(other), "^ab c\n\nde|");
  EXPECT_EQ(other.protocol, "llm-pruner:ptb@9");
  EXPECT_NE(other.sha256, made("ptb@8=" + file).sha256);
}

TEST(MakeEvalText, TakesOnlyTheBeginningOfC4) {
  const TempDir dir;
  std::string lines;
  for (int i = 0; i < 1101; ++i)
    lines += "{\"text\": \"" + std::string(i < 2 ? 3 : 0, 'a') + "\"}\n";
  write_file(dir / "c.jsonl", lines + "{\"text\": \"late\"}\n");
  // BOS, 6 letters and the 1,099 blanks between 1,100 documents are 1,106 ids.
  EXPECT_EQ(made("c4@64=" + dir / "c.jsonl").sequences.size(), 17U);
  EXPECT_EQ(made("c4@7=" + dir / "c.jsonl").sequences.size(), 158U);
  EXPECT_EQ(made("c4@4=" + dir / "c.jsonl").sequences.size(), 256U);
}

TEST(MakeEvalText, ALengthInTheNameGoesBeforeTheOption) {
  const TempDir dir;
  const std::string file = dir / "p.txt";
  write_file(file, std::string(300, 'a'));
  EXPECT_EQ(made("ptb@8=" + file, {.seqlen = 16}).seqlen, 8);
  EXPECT_EQ(made("ptb=" + file, {.seqlen = 16}).seqlen, 16);
  EXPECT_EQ(made("ptb=" + file, {}, 1000).seqlen, 128);
  EXPECT_EQ(made("ptb=" + file, {}, 64).seqlen, 64);
  expect_error(ErrorKind::InvalidArgument, "context of 64", [&] { made("ptb@65=" + file); });
  expect_error(ErrorKind::InvalidArgument, "context of 64", [&] { made("ptb@1=" + file); });
}

TEST(MakeEvalText, PlainFilesStayAsTheyWereUnderPaper) {
  const TempDir dir;
  write_file(dir / "a.txt", "abcdefgh");
  write_file(dir / "a.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"de\"}\n");
  EXPECT_EQ(made(dir / "a.txt", {.seqlen = 4}).protocol, "chunked-4");
  EXPECT_EQ(made(dir / "a.jsonl", {.seqlen = 4}).protocol, "documents-4");
  const ProtocolOptions llm_pruner{.rule = PerplexityRule::LlmPruner, .text_dir = {}, .seqlen = 4};
  EXPECT_EQ(made(dir / "a.txt", llm_pruner).protocol, "llm-pruner:text@4");
  EXPECT_EQ(shown(made(dir / "a.txt", llm_pruner)), "^abc|defg|");
  EXPECT_EQ(shown(made(dir / "a.jsonl", llm_pruner)), "^abc|\n\nde|");
}

TEST(LmEvalWord, PredictsEveryIdOnceInFullWindows) {
  const TempDir dir;
  write_file(dir / "a.txt", "abcdefg");
  // Predicted: BOS and 7 letters, BOS once more in front; windows of 3 inputs. The last reaches
  // back, and only its last two ids count.
  const ProtocolOptions options{.rule = PerplexityRule::LmEvalWord, .text_dir = {}, .seqlen = 3};
  const EvalText text = made(dir / "a.txt", options);
  EXPECT_EQ(shown(text), "^^ab|bcde|defg|");
  EXPECT_EQ(text.scored, (Ids{3, 3, 2}));
  EXPECT_EQ(text.protocol, "lm-eval-word:text@3");
  ASSERT_EQ(text.documents.size(), 1U);
  EXPECT_EQ(text.documents[0].sequences, 3);
  EXPECT_EQ(text.documents[0].words, 1);
  EXPECT_EQ(text.documents[0].bytes, 7);
}

TEST(LmEvalWord, StartsFromBosElseEosAndAddsBosOnlyWhereTheTokenizerDoes) {
  const TempDir dir;
  write_file(dir / "a.txt", "ab");
  const ProtocolOptions options{.rule = PerplexityRule::LmEvalWord};
  const auto first = [&](SpecialIds special) {
    return make_eval_text(parse_text_request(dir / "a.txt"), options, Bytes(special), 64)
        .sequences.at(0);
  };
  EXPECT_EQ(first({.bos = 256, .eos = 257, .adds_bos = true}), (Ids{256, 256, 'a', 'b'}));
  EXPECT_EQ(first({.bos = 256, .eos = 257, .adds_bos = false}), (Ids{256, 'a', 'b'}));
  EXPECT_EQ(first({.bos = {}, .eos = 257, .adds_bos = false}), (Ids{257, 'a', 'b'}));
  expect_error(ErrorKind::InvalidArgument, "neither BOS nor EOS", [&] { first({}); });
}

TEST(LmEvalWord, ScoresDetokenisedPagesAndCountsThemAsTheyWere) {
  const TempDir dir;
  write_file(dir / "w.raw", " \n = A = \n x , y\n = B = \n z \n");
  const ProtocolOptions options{.rule = PerplexityRule::LmEvalWord};
  const EvalText text = made("wikitext2=" + dir / "w.raw", options);
  EXPECT_EQ(shown(text), "^^ = A =\nx, y\n|^^ = B =\nz\n|");
  ASSERT_EQ(text.documents.size(), 2U);
  // " = A = \n x , y\n": "", "=", "A", "=", "x", ",", "y", "".
  EXPECT_EQ(text.documents[0].words, 8);
  EXPECT_EQ(text.documents[0].bytes, 15);
}

TEST(WikiText, BeginsAPageAtATitleOnly) {
  const auto pages = wikitext_pages(" \n = One = \n a\n = = Part = = \n b\n = Two = \nc");
  ASSERT_EQ(pages.size(), 2U);
  EXPECT_EQ(pages[0], " = One = \n a\n = = Part = = \n b\n");
  EXPECT_EQ(pages[1], " = Two = \nc");
  EXPECT_EQ(wikitext_pages("no title\n = a\n").size(), 1U);
}

TEST(WikiText, DetokenisesRuleByRule) {
  EXPECT_EQ(detokenise_wikitext("the dogs ' bone"), "the dogs' bone");
  EXPECT_EQ(detokenise_wikitext("a @-@ b 1 @,@ 000 @.@ 5"), "a-b 1,000.5");
  EXPECT_EQ(detokenise_wikitext("x : y ; z . A ! B ? C , d"), "x: y; z. A! B? C, d");
  EXPECT_EQ(detokenise_wikitext("( a ( b ) c )"), "(a ( b) c )");
  EXPECT_EQ(detokenise_wikitext("[ a ] { b } \" c \" d ( e"), "[a] {b} \"c\" d ( e");
  EXPECT_EQ(detokenise_wikitext("( \u00A0 )"), "()");
  EXPECT_EQ(detokenise_wikitext(" = = = x = = = "), " === x === ");
  EXPECT_EQ(detokenise_wikitext("20 \u00B0 C N of it 's \n more"), "20\u00B0C 1 of it's\nmore");
}

TEST(WikiText, CountsTheEmptyWordsAtBothEnds) {
  EXPECT_EQ(count_words(""), 1);
  EXPECT_EQ(count_words("one"), 1);
  EXPECT_EQ(count_words(" one  two\n"), 4);
  EXPECT_EQ(count_words("a\u00A0b\u2009c\x1c"
                        "d"),
            4);
}

}  // namespace
}  // namespace prunus::test::protocol_test
