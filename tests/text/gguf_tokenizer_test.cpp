// Ids worked out by hand; tools/check_gguf_tokenizer.py holds real files against llama.cpp.
#include "prunus/text/gguf_tokenizer.h"

#include <gmock/gmock.h>

#include "prunus/text/chat_format.h"

#include "fixture.h"
#include "gguf_fixture.h"

namespace prunus::text::gguf_tokenizer_test {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(GgufSentencePiece, JoinsThePairWithTheBestScore) {
  const auto tokenizer = spm_parts().flag("add_space_prefix", false).tokenizer();
  EXPECT_THAT(tokenizer->encode("ab"), ElementsAre(263));
  EXPECT_THAT(tokenizer->encode(" ab"), ElementsAre(259, 263));  // not ▁a and b
  EXPECT_THAT(tokenizer->encode(" aab"), ElementsAre(262, 263));
}

TEST(GgufSentencePiece, PutsASpaceInFrontAndBehindSpecialTokens) {
  const auto tokenizer = spm_parts().tokenizer();
  EXPECT_THAT(tokenizer->encode("a"), ElementsAre(262));
  EXPECT_THAT(tokenizer->encode("a</s>a"), ElementsAre(262, 2, 262));
  EXPECT_THAT(tokenizer->encode("a a"), ElementsAre(262, 262));
  EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{262, 262}), "a a");
}

TEST(GgufSentencePiece, SpellsWhatIsUnknownInBytes) {
  EXPECT_THAT(spm_parts().tokenizer()->encode("é"), ElementsAre(259, 3 + 0xC3, 3 + 0xA9));
}

TEST(GgufSentencePiece, AddsBosUnlessTheFileSaysNo) {
  EXPECT_THAT(spm_parts().tokenizer()->prefix_ids(), ElementsAre(1));
  EXPECT_THAT(spm_parts().flag("add_bos_token", false).tokenizer()->prefix_ids(), ElementsAre());
  EXPECT_THAT(spm_parts().flag("add_eos_token", true).tokenizer()->suffix_ids(), ElementsAre(2));
}

TEST(GgufSentencePiece, HasTheUsualIdsWhereTheFileNamesNone) {
  const auto parts = spm_parts().drop("bos_token_id").drop("eos_token_id").drop("unknown_token_id");
  const auto vocabulary = parts.vocabulary();
  EXPECT_EQ(vocabulary.bos, 1);
  EXPECT_EQ(vocabulary.eos, 2);
  EXPECT_EQ(vocabulary.unk, 0);
}

TEST(GgufTokens, ThatUsersDefinedAreFoundButStayInTheText) {
  const auto tokenizer = spm_parts().tokenizer();
  const auto ids = tokenizer->encode("a<think>");
  EXPECT_THAT(ids, ElementsAre(262, 264));
  EXPECT_EQ(tokenizer->decode(ids), "a<think>");
  EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{262, 2}), "a");
}

TEST(GgufByteLevel, CutsWordsByThePreTokenizersName) {
  EXPECT_THAT(bpe_parts("gpt-2").tokenizer()->encode("ab12"), ElementsAre(6, 4));
  EXPECT_THAT(bpe_parts("smollm").tokenizer()->encode("ab12"), ElementsAre(6, 2, 3));
  EXPECT_THAT(bpe_parts("qwen2").tokenizer()->encode("ab12"), ElementsAre(6, 2, 3));
  EXPECT_THAT(bpe_parts("dbrx").tokenizer()->encode("ab12"), ElementsAre(6, 4));
  EXPECT_THAT(bpe_parts("gpt-2").drop("pre").tokenizer()->encode("ab12"), ElementsAre(6, 4));
}

TEST(GgufByteLevel, TakesWholeWordsWhereItsModelsDo) {
  EXPECT_THAT(bpe_parts("llama-bpe").tokenizer()->encode("ba"), ElementsAre(8));
  EXPECT_THAT(bpe_parts("dbrx").tokenizer()->encode("ba"), ElementsAre(1, 0));
}

TEST(GgufByteLevel, HasNoBosUnlessTheFileOrItsModelsDo) {
  EXPECT_EQ(bpe_parts("gpt-2").tokenizer()->bos_id(), std::nullopt);
  EXPECT_THAT(bpe_parts("gpt-2").id("bos", 7).tokenizer()->prefix_ids(), ElementsAre());
  EXPECT_THAT(bpe_parts("llama-bpe").id("bos", 7).tokenizer()->prefix_ids(), ElementsAre(7));
}

TEST(GgufByteLevel, FindsControlTokensInTheText) {
  const auto tokenizer = bpe_parts("gpt-2").tokenizer();
  EXPECT_THAT(tokenizer->encode("ab<|end|> a"), ElementsAre(6, 7, 5, 0));
  EXPECT_EQ(tokenizer->eos_id(), 7);
}

TEST(GgufUnigram, TakesTheBestSumAndAddsEos) {
  const auto tokenizer = unigram_parts().tokenizer();
  EXPECT_THAT(tokenizer->encode("a b"), ElementsAre(3, 4, 5));
  EXPECT_THAT(tokenizer->encode("ab"), ElementsAre(3, 5));  // −3, and ▁ with ab −3.5
  EXPECT_THAT(tokenizer->suffix_ids(), ElementsAre(1));
  EXPECT_THAT(tokenizer->encode("ac"), ElementsAre(3, 2));
}

TEST(GgufUnigram, DropsSpacesWhereTheFileSaysSo) {
  const auto kept = unigram_parts().tokenizer();
  EXPECT_THAT(kept->encode("a  b "), ElementsAre(3, 4, 4, 5, 4));
  const auto dropped = unigram_parts().flag("remove_extra_whitespaces", true).tokenizer();
  EXPECT_THAT(dropped->encode("a  b "), ElementsAre(3, 4, 5));
}

TEST(GgufVocabulary, LeavesOutTokensThatOnlyFillItUp) {
  auto parts = bpe_parts("gpt-2");
  parts.set(GgufEntry::texts("tokenizer.ggml.tokens", {"a", "b", "ab", "[PAD3]", "[PAD4]"}));
  parts.set(GgufEntry::int32s("tokenizer.ggml.token_type", {1, 1, 1, 5, 5}));
  parts.set(GgufEntry::texts("tokenizer.ggml.merges", {"a b"})).id("eos", 0);
  EXPECT_EQ(parts.tokenizer()->vocab_size(), 3);
}

TEST(GgufVocabulary, NamesEmptyTokensAsLlamaCppDoes) {
  auto parts = bpe_parts("gpt-2");
  parts.set(GgufEntry::texts("tokenizer.ggml.tokens", {"a", "b", "ab", ""}));
  parts.drop("token_type").id("eos", 0);
  parts.set(GgufEntry::texts("tokenizer.ggml.merges", {"a b"}));
  EXPECT_EQ(parts.vocabulary().tokens[3], "[EMPTY_3]");
}

TEST(GgufVocabulary, StripsBehindSpecialTokensOfPhi3) {
  const auto tokenizer = spm_parts().set(GgufEntry::text("general.name", "Phi-3 mini")).tokenizer();
  EXPECT_THAT(tokenizer->encode("</s>  a"), ElementsAre(2, 262));
  EXPECT_THAT(tokenizer->encode("<s>  a"), ElementsAre(1, 259, 259, 262));
}

TEST(GgufVocabulary, EndsATextAtEveryKnownEnd) {
  EXPECT_THAT(end_ids(bpe_parts("gpt-2").vocabulary()), ElementsAre(7));
  EXPECT_THAT(end_ids(bpe_parts("gpt-2").id("eos", 0).id("eot", 9).vocabulary()),
              ElementsAre(0, 9, 7));
}

std::map<std::string, std::string> files_of(const std::string& path) {
  std::map<std::string, std::string> files;
  for (const auto& file : gguf_tokenizer_files(*GgufFile::open(path))) {
    files[file.name] = file.contents;
  }
  return files;
}

TEST(GgufTokenizerFiles, GiveTheSameIdsFromADirectory) {
  const TestDirectory dir;
  const std::vector<GgufParts> all = {spm_parts(), bpe_parts("smollm"), unigram_parts()};
  for (const GgufParts& parts : all) {
    const std::string path = dir.write("model.gguf", parts.bytes());
    for (const auto& [name, contents] : files_of(path)) dir.write(name, contents);
    const auto from_file = load_tokenizer(path);
    const auto from_dir = load_tokenizer(dir.path());
    for (const char* text : {"ab ba 12", "a</s>a <think><|end|>b", "  a", ""}) {
      EXPECT_EQ(from_file->encode(text), from_dir->encode(text)) << text;
    }
    EXPECT_EQ(from_file->prefix_ids(), from_dir->prefix_ids());
    EXPECT_EQ(from_file->suffix_ids(), from_dir->suffix_ids());
    EXPECT_EQ(from_file->vocab_size(), from_dir->vocab_size());
    EXPECT_EQ(from_file->kind(), from_dir->kind());
  }
}

TEST(GgufTokenizerFiles, HoldIdsAndTemplate) {
  const TestDirectory dir;
  auto parts = spm_parts().id("eot", 264).id("padding", 0);
  parts.set(GgufEntry::text("tokenizer.chat_template", "{{ messages[0].content }}"));
  parts.set(GgufEntry::text("general.architecture", "llama"));
  parts.set(GgufEntry::uint32("llama.context_length", 2048));
  const auto files = files_of(dir.write("model.gguf", parts.bytes()));
  EXPECT_EQ(files.at("chat_template.jinja"), "{{ messages[0].content }}");
  EXPECT_EQ(json::parse(files.at("generation_config.json")),
            json::parse(R"({"bos_token_id": 1, "eos_token_id": [2, 264], "pad_token_id": 0})"));
  const json config = json::parse(files.at("tokenizer_config.json"));
  EXPECT_EQ(config.at("bos_token"), "<s>");
  EXPECT_EQ(config.at("pad_token"), "<unk>");
  EXPECT_EQ(config.at("sep_token"), json());
  EXPECT_EQ(config.at("add_bos_token"), true);
  EXPECT_EQ(config.at("model_max_length"), 2048);
  EXPECT_EQ(config.at("added_tokens_decoder").at("264").at("special"), false);
  EXPECT_FALSE(config.contains("chat_template"));
}

TEST(GgufTokenizerFiles, KeepTemplatesThatHaveNames) {
  const TestDirectory dir;
  auto parts = spm_parts();
  parts.set(GgufEntry::text("tokenizer.chat_template", "d"));
  parts.set(GgufEntry::text("tokenizer.chat_template.tool_use", "t"));
  parts.set(GgufEntry::texts("tokenizer.chat_templates", {"tool_use"}));
  const auto files = files_of(dir.write("model.gguf", parts.bytes()));
  EXPECT_FALSE(files.contains("chat_template.jinja"));
  EXPECT_EQ(json::parse(files.at("tokenizer_config.json")).at("chat_template"),
            json::parse(R"([{"name": "default", "template": "d"},
                            {"name": "tool_use", "template": "t"}])"));
}

TEST(GgufChat, IsWrittenByTheFilesTemplate) {
  const TestDirectory dir;
  auto parts = spm_parts();
  parts.set(GgufEntry::text("tokenizer.chat_template",
                            "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}"));
  const ChatFormat format(dir.write("model.gguf", parts.bytes()));
  Conversation conversation;
  conversation.messages = Json::parse(R"([{"role": "user", "content": "hi"}])");
  conversation.learnt = {false};
  EXPECT_EQ(format.render(conversation, "line 1").text, "<s>[hi]");
}

TEST(GgufChat, IsRefusedWithoutATemplate) {
  const TestDirectory dir;
  const std::string path = dir.write("model.gguf", spm_parts().bytes());
  try {
    const ChatFormat format(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::NotFound);
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.chat_template"));
  }
}

}  // namespace
}  // namespace prunus::text::gguf_tokenizer_test
