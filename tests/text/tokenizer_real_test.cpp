// Real vocabularies against ids made by the original tokenizers (shared/tokenizers/vectors).
#include <sstream>

#include <gmock/gmock.h>

#include "prunus/base/files.h"

#include "fixture.h"
#include "support/paths.h"

namespace prunus::text::tokenizer_real_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<int64_t>;

// Of $PRUNUS_SHARED; RealTokenizer skips where there is none.
fs::path shared() { return test::shared_dir(); }

class RealTokenizer : public testing::Test {
 protected:
  void SetUp() override { PRUNUS_NEED_SHARED(test::shared_dir()); }

  std::unique_ptr<Tokenizer> load(const std::string& name) const {
    return load_tokenizer((shared() / name).string());
  }
  // A directory that holds only the sentencepiece model.
  static std::unique_ptr<Tokenizer> load_model(const TestDirectory& dir, const std::string& name) {
    dir.write("tokenizer.model", read_file((shared() / "tokenizers" / name).string()));
    return load_tokenizer(dir.path());
  }
  static void check_vectors(const Tokenizer& tokenizer, const std::string& name, bool lossless) {
    check_pair(tokenizer, name, lossless);
    check_pair(tokenizer, name + ".b", lossless);
  }

 private:
  static void check_pair(const Tokenizer& tokenizer, const std::string& name, bool lossless) {
    const auto base = (shared() / "tokenizers" / "vectors" / name).string();
    const std::string texts = read_file(base + ".inp");
    std::istringstream expected(read_file(base + ".out"));
    const std::string marker = "\n__ggml_vocab_test__\n";
    int cases = 0;
    for (size_t at = 0, end; (end = texts.find(marker, at)) != texts.npos; ++cases) {
      const std::string text = texts.substr(at, end - at);
      std::string line;
      std::getline(expected, line);
      std::istringstream numbers(line);
      const Ids ids((std::istream_iterator<int64_t>(numbers)), {});
      EXPECT_EQ(tokenizer.encode(text), ids) << name << " case " << cases << ": " << text;
      if (lossless) {
        EXPECT_EQ(tokenizer.decode(ids), text) << name << " case " << cases;
      }
      at = end + marker.size();
    }
    EXPECT_EQ(cases, 46) << name;
  }
};

TEST_F(RealTokenizer, Llama2GivesTheOriginalIds) {
  check_vectors(*load("tokenizers/llama2"), "llama-spm", true);
}

TEST_F(RealTokenizer, Llama2BySentencePieceGivesTheOriginalIds) {
  const TestDirectory dir;
  const auto tokenizer = load_model(dir, "llama2/tokenizer.model");
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->vocab_size(), 32000);
  check_vectors(*tokenizer, "llama-spm", true);
  EXPECT_EQ(tokenizer->encode("a<s>b"), (Ids{263, 1, 289}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a</s>"), false), "a</s>");
}

TEST_F(RealTokenizer, Llama3GivesTheOriginalIds) {
  const auto tokenizer = load("tokenizers/llama3");
  EXPECT_EQ(tokenizer->bos_id(), 128000);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->vocab_size(), 128256);
  check_vectors(*tokenizer, "llama-bpe", true);
}

TEST_F(RealTokenizer, Qwen2GivesTheOriginalIds) {
  const auto tokenizer = load("tokenizers/qwen2");
  EXPECT_FALSE(tokenizer->bos_id());
  EXPECT_EQ(tokenizer->eos_id(), 151643);
  check_vectors(*tokenizer, "qwen2", false);  // NFC: some texts come back composed
}

TEST_F(RealTokenizer, Gpt2GivesTheOriginalIds) {
  check_vectors(*load("tokenizers/gpt2"), "gpt-2", true);
}

TEST_F(RealTokenizer, Gpt2ByVocabAndMergesGivesTheOriginalIds) {
  const TestDirectory dir;
  for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json"}) {
    dir.write(name, read_file((shared() / "tokenizers" / "gpt2" / name).string()));
  }
  const auto tokenizer = load_tokenizer(dir.path());
  check_vectors(*tokenizer, "gpt-2", true);
  EXPECT_EQ(tokenizer->encode("<|endoftext|>"), Ids{50256});
}

TEST_F(RealTokenizer, MistralReadsBothVersions) {
  const TestDirectory dir;
  EXPECT_EQ(load_model(dir, "mistral/tokenizer.model.v1")->encode("Hello world"),
            (Ids{22557, 1526}));
  EXPECT_EQ(load_model(dir, "mistral/tokenizer.model.v3")->encode("Hello world"),
            (Ids{23325, 2294}));
}

TEST_F(RealTokenizer, RefusesTiktokenRanks) {
  const TestDirectory dir;
  expect_error(ErrorKind::Unsupported, "tiktoken",
               [&] { load_model(dir, "llama3/tokenizer.model"); });
}

TEST_F(RealTokenizer, SmallModelsSeeTheSequencesTheyWereMeasuredOn) {
  for (const char* model : {"stories260K", "babyllama-105", "sapling-5m"}) {
    const auto dir = std::string("models/") + model;
    const auto tokenizer = load(dir);
    std::istringstream lines(read_file((shared() / dir / "quality.jsonl").string()));
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
      const json record = json::parse(line);
      const auto expected = record["ids"].get<Ids>();
      Ids ids = tokenizer->encode(record["text"].get<std::string>());
      ids.insert(ids.begin(), tokenizer->bos_id().value());
      const size_t common = std::min(ids.size(), expected.size());
      EXPECT_GT(common, 30u);
      // A text cut in the middle of a word may end in other ids than the whole text has there.
      const bool same = std::equal(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(common),
                                   expected.begin());
      EXPECT_TRUE(same) << model << " line " << count + 1;
    }
    EXPECT_GE(count, 30) << model;
  }
}

TEST_F(RealTokenizer, BooksComeBackUnchanged) {
  const auto text = read_file((shared() / "corpora/wikitext-2-raw/wiki.test.raw").string());
  for (const char* name : {"llama2", "llama3", "gpt2"}) {
    const auto tokenizer = load(std::string("tokenizers/") + name);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
  }
}

}  // namespace
}  // namespace prunus::text::tokenizer_real_test
