// Every family's form of tokenizer against ids of Hugging Face tokenizers on 2 MB of mixed text.
// The goldens come from tools/make_tokenizer_goldens.py, which also makes the same documents.
#include <algorithm>
#include <array>

#include <gmock/gmock.h>

#include "prunus/base/files.h"
#include "prunus/text/utf8.h"

#include "fixture.h"
#include "support/paths.h"

namespace prunus::text::family_tokenizer_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<int64_t>;

constexpr size_t kTextBytes = 2'000'000;

fs::path golden() { return fs::path(test::source_path("tests/text/golden")); }

// Knuth's MMIX generator; the upper 31 bits are used.
class Lcg {
 public:
  explicit Lcg(uint64_t seed) : state_(seed) {}
  size_t below(size_t limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state_ >> 33) % limit;
  }

 private:
  uint64_t state_;
};

// A line of the seed and where its characters begin, with one entry more at the end.
struct Line {
  std::string text;
  std::vector<size_t> starts;
};

std::vector<Line> seed_lines() {
  std::vector<Line> lines(1);
  const std::string seed = read_file((golden() / "mixed_seed.txt").string());
  for (const char byte : seed) {
    if (byte == '\n') {
      lines.emplace_back();
    } else {
      lines.back().text += byte;
    }
  }
  for (auto& [text, starts] : lines) {
    for (size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) starts.push_back(at);
    starts.push_back(text.size());
  }
  return lines;
}

std::vector<std::string> make_documents() {
  static constexpr std::array joints = {"", " ", "\n", "  ", "", "\r\n", " ", "\n\n", "\t"};
  const auto lines = seed_lines();
  std::vector<std::string> documents;
  Lcg random(2024);
  for (size_t total = 0; total < kTextBytes; total += documents.back().size()) {
    std::string text;
    for (size_t pieces = 1 + random.below(48); pieces > 0; --pieces) {
      const Line& line = lines[random.below(lines.size())];
      const size_t length = line.starts.size() - 1;
      size_t begin = 0;
      size_t count = length;
      if (random.below(3) > 0) {
        begin = random.below(length);
        count = 1 + random.below(length - begin);
      }
      const size_t from = line.starts[begin];
      text.append(line.text, from, line.starts[begin + count] - from);
      text += joints[random.below(joints.size())];
    }
    documents.push_back(text);
  }
  return documents;
}

const std::vector<std::string>& documents() {
  static const auto made = make_documents();
  return made;
}

std::string digest(const Ids& ids) {
  std::string bytes;
  for (const int64_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift & 0xFF);
  }
  return sha256(bytes);
}

class FamilyTokenizer : public testing::TestWithParam<std::string> {
 protected:
  std::string dir() const { return (golden() / GetParam()).string(); }
  json expected() const { return json::parse(read_file(dir() + "/expected.json")); }
};

TEST_P(FamilyTokenizer, GivesTheIdsOfHuggingFace) {
  const auto tokenizer = load_tokenizer(dir());
  const json want = expected();
  const auto digests = want["document_sha256"].get<std::string>();
  ASSERT_EQ(documents().size(), want["documents"].get<size_t>());
  ASSERT_EQ(digests.size(), 4 * documents().size());
  Ids all;
  for (size_t i = 0; i < documents().size(); ++i) {
    const Ids ids = tokenizer->encode(documents()[i]);
    ASSERT_EQ(digest(ids).substr(0, 4), digests.substr(4 * i, 4))
        << "document " << i << " (tools/make_tokenizer_goldens.py --show " << GetParam() << " " << i
        << " prints the expected ids): " << documents()[i] << "\n"
        << testing::PrintToString(ids);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(all.size(), want["ids"].get<size_t>());
  EXPECT_EQ(digest(all), want["sha256"].get<std::string>());
}

TEST_P(FamilyTokenizer, DecodesAsHuggingFaceDoes) {
  const auto tokenizer = load_tokenizer(dir());
  const json want = expected();
  for (const json& short_text : want["short"]) {
    const auto text = short_text["text"].get<std::string>();
    const Ids ids = tokenizer->encode(text);
    EXPECT_EQ(ids, short_text["ids"].get<Ids>()) << text;
    EXPECT_EQ(tokenizer->decode(ids, false), short_text["decoded"].get<std::string>()) << text;
    auto without = short_text["decoded_without_special"].get<std::string>();
    // tokenizers 0.23 keeps a special token that it found in the normalised text ("▁<s>"), as it
    // then does not know it again. Here it is left out as asked for.
    if (std::string(GetParam()) == "llama" && without.starts_with("<s>")) without.erase(0, 3);
    EXPECT_EQ(tokenizer->decode(ids), without) << text;
  }
}

TEST_P(FamilyTokenizer, KnowsWhatStandsInFrontOfAText) {
  // Only a tokenizer.json has a post-processor to compare with.
  if (!fs::exists(dir() + "/tokenizer.json")) return;
  const auto tokenizer = load_tokenizer(dir());
  Ids ids = tokenizer->prefix_ids();
  const Ids text = tokenizer->encode("a");
  ids.insert(ids.end(), text.begin(), text.end());
  EXPECT_EQ(ids, expected()["with_special"].get<Ids>());
}

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden())) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Golden, FamilyTokenizer, testing::ValuesIn(families()),
                         [](const auto& family) { return family.param; });

TEST(FamilyTokenizers, CoverTheFamilies) {
  EXPECT_THAT(families(), testing::IsSupersetOf({"bloom", "deepseek_llm", "gemma", "glm4", "gpt2",
                                                 "gpt_neox", "llama", "llama3", "mistral", "olmo2",
                                                 "opt", "phi3", "qwen2", "t5", "unigram_bytes"}));
}

}  // namespace
}  // namespace prunus::text::family_tokenizer_test
