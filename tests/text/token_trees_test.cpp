#include "prunus/text/token_trees.h"

#include <algorithm>
#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/text/cut_vocabulary.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "tests/text/fixture.h"

namespace prunus::test::token_trees_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using text::byte_level_json;
using text::TestDirectory;
using Ids = std::vector<int64_t>;

void write_tokenizer(const std::string& dir, const json& tokenizer) {
  write_file(dir + "/tokenizer.json", tokenizer.dump());
  write_file(dir + "/config.json", "{}");
}

// The ids that a tokenizer without the other tokens gives.
std::unique_ptr<Tokenizer> cut(const std::string& dir, int64_t rows, const Ids& keep,
                               const TempDir& out) {
  write_cut_vocabulary(dir, TokenNumbers(rows, keep), out.path());
  return load_tokenizer(out.path());
}

Ids renumbered(const Ids& ids, const TokenNumbers& numbers) {
  Ids now;
  for (const int64_t id : ids) now.push_back(numbers.of(id));
  return now;
}

// a=0 b=1 c=2 Ġ=3 ab=4 bc=5 abc=6 Ġa=7 Ã=8 ©=9 Ã©=10.
TEST(TokenTrees, CountATokenForEverythingThatItIsPartOf) {
  const TestDirectory dir;
  write_tokenizer(dir.path(), byte_level_json());
  const TokenTrees trees(dir.path(), 11);
  Ids counts(11);
  counts[6] = 2;  // abc is ab and c
  counts[5] = 1;
  EXPECT_THAT(trees.uses(counts), ElementsAre(2, 3, 3, 0, 2, 1, 2, 0, 0, 0, 0));
}

TEST(TokenTrees, KeepTheMostUsedWithAllThatTheyAreMadeOf) {
  const TestDirectory dir;
  write_tokenizer(dir.path(), byte_level_json());
  const TokenTrees trees(dir.path(), 11);
  EXPECT_EQ(trees.required_count(), 6);  // the single characters
  Ids counts(11);
  counts[6] = 2;
  counts[10] = 1;
  const Ids uses = trees.uses(counts);
  EXPECT_THAT(trees.choose(uses, 6), ElementsAre(0, 1, 2, 3, 8, 9));
  EXPECT_THAT(trees.choose(uses, 7), ElementsAre(0, 1, 2, 3, 4, 8, 9));  // abc has no room
  EXPECT_THAT(trees.choose(uses, 8), ElementsAre(0, 1, 2, 3, 4, 6, 8, 9));
  EXPECT_THAT(trees.choose(uses, 9), ElementsAre(0, 1, 2, 3, 4, 6, 8, 9, 10));
  // Of tokens that nobody used the lower id.
  EXPECT_THAT(trees.choose(uses, 10), ElementsAre(0, 1, 2, 3, 4, 5, 6, 8, 9, 10));
}

TEST(TokenTrees, RefuseAChoiceThatIsNotClosed) {
  const TestDirectory dir;
  write_tokenizer(dir.path(), byte_level_json());
  const TokenTrees trees(dir.path(), 11);
  trees.check({0, 1, 2, 3, 4, 6, 8, 9});
  expect_error(ErrorKind::InvalidArgument,
               "keeps token 6 'abc' but not token 4 'ab', which it is made of", [&] {
                 trees.check({0, 1, 2, 3, 6, 8, 9});
               });
  expect_error(ErrorKind::InvalidArgument, "drops token 2 'c', which must stay", [&] {
    trees.check({0, 1, 3, 8, 9});
  });
}

TEST(TokenTrees, KeepWhatTheFilesNameAndWhatItIsMadeOf) {
  const TestDirectory dir;
  json tokenizer = byte_level_json();
  tokenizer["added_tokens"] = {{{"id", 11}, {"content", "<s>"}, {"special", true}}};
  write_tokenizer(dir.path(), tokenizer);
  dir.write("config.json", R"({"text_config": {"image_token_id": 6}, "pad_token_id": -1})");
  dir.write("generation_config.json", R"({"suppress_tokens": [7], "eos_token_id": [11, 5]})");
  const TokenTrees trees(dir.path(), 12);
  EXPECT_THAT(trees.choose(Ids(12), trees.required_count()),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11));
}

TEST(TokenTrees, RefuseVocabulariesThatCannotBeCut) {
  const TestDirectory dir;
  dir.write("config.json", "{}");
  expect_error(ErrorKind::NotFound, "no tokenizer", [&] { TokenTrees(dir.path(), 11); });
  write_tokenizer(dir.path(), byte_level_json());
  dir.write("generation_config.json", R"({"forced_decoder_ids": [[1, 2]]})");
  expect_error(ErrorKind::Unsupported, "'forced_decoder_ids' names tokens",
               [&] { TokenTrees(dir.path(), 11); });
  dir.write("generation_config.json", "{}");
  dir.write("tokenizer_config.json", R"({"auto_map": {"AutoTokenizer": ["own.Own", null]}})");
  expect_error(ErrorKind::Unsupported, "a Python class of the model's own",
               [&] { TokenTrees(dir.path(), 11); });
}

// Merges of a and b by the definition: the first merge of the list that occurs, at its leftmost
// place, again and again. → everything that was there at some time.
std::vector<std::string> by_definition(
    const std::vector<std::pair<std::string, std::string>>& merges, const std::string& word,
    std::vector<std::string>* seen) {
  std::vector<std::string> parts;
  for (const char letter : word) parts.emplace_back(1, letter);
  for (bool again = true; again;) {
    again = false;
    if (seen != nullptr) seen->insert(seen->end(), parts.begin(), parts.end());
    for (const auto& [left, right] : merges) {
      for (size_t i = 0; !again && i + 1 < parts.size(); ++i) {
        if (parts[i] != left || parts[i + 1] != right) continue;
        parts[i] += right;
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        again = true;
      }
      if (again) break;
    }
  }
  return parts;
}

struct Drawn {
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<std::string> tokens = {"a", "b", "c"};
  json document = byte_level_json();
};

// Merges in any order, some of them of tokens that only a later merge makes.
Drawn drawn(std::mt19937& random) {
  Drawn result;
  while (result.tokens.size() < 18) {
    const std::string left = result.tokens[random() % result.tokens.size()];
    const std::string right = result.tokens[random() % result.tokens.size()];
    const auto merge = std::pair(left, right);
    if (left.size() + right.size() > 6 ||
        std::count(result.merges.begin(), result.merges.end(), merge)) {
      continue;
    }
    result.merges.push_back(merge);
    const std::string whole = left + right;
    if (!std::count(result.tokens.begin(), result.tokens.end(), whole))
      result.tokens.push_back(whole);
  }
  std::shuffle(result.merges.begin(), result.merges.end(), random);
  json& model = result.document["model"];
  model["vocab"] = json::object();
  for (size_t id = 0; id < result.tokens.size(); ++id) model["vocab"][result.tokens[id]] = id;
  model["merges"] = json::array();
  for (const auto& [left, right] : result.merges) model["merges"].push_back({left, right});
  return result;
}

std::string word(std::mt19937& random) {
  std::string letters;
  for (size_t i = 1 + random() % 12; i > 0; --i) letters += static_cast<char>('a' + random() % 3);
  return letters;
}

TEST(TokenTrees, AreWhatTheMergesDoByDefinition) {
  std::mt19937 random(5);
  for (int round = 0; round < 30; ++round) {
    const Drawn one = drawn(random);
    const TempDir dir;
    write_tokenizer(dir.path(), one.document);
    const auto rows = static_cast<int64_t>(one.tokens.size());
    const TokenTrees trees(dir.path(), rows);
    for (size_t id = 3; id < one.tokens.size(); ++id) {
      std::vector<std::string> seen;
      const auto parts = by_definition(one.merges, one.tokens[id], &seen);
      Ids counts(one.tokens.size());
      counts[id] = 1;
      const Ids uses = trees.uses(counts);
      for (size_t part = 0; part < one.tokens.size(); ++part) {
        const bool used = part == id || (parts.size() == 1 && std::count(seen.begin(), seen.end(),
                                                                         one.tokens[part]) > 0);
        EXPECT_EQ(uses[part] > 0, used) << one.tokens[part] << " in " << one.tokens[id];
      }
    }
  }
}

// Every number of tokens, every word: the ids of kept tokens stay, and every word comes back.
TEST(TokenTrees, LeaveTextOfKeptTokensItsIds) {
  std::mt19937 random(6);
  for (int round = 0; round < 12; ++round) {
    const Drawn one = drawn(random);
    const TempDir dir;
    write_tokenizer(dir.path(), one.document);
    const auto rows = static_cast<int64_t>(one.tokens.size());
    const TokenTrees trees(dir.path(), rows);
    Ids counts(one.tokens.size());
    for (int i = 0; i < 20; ++i) {
      for (const int64_t id : trees.tokenizer().encode(word(random)))
        ++counts[static_cast<size_t>(id)];
    }
    const Ids uses = trees.uses(counts);
    for (int64_t count = 3; count <= rows; ++count) {
      const Ids keep = trees.choose(uses, count);
      ASSERT_EQ(keep.size(), static_cast<size_t>(count));
      trees.check(keep);
      const TempDir out;
      const auto left = cut(dir.path(), rows, keep, out);
      const TokenNumbers numbers(rows, keep);
      for (int i = 0; i < 60; ++i) {
        const std::string text = word(random);
        const Ids before = renumbered(trees.tokenizer().encode(text), numbers);
        const Ids now = left->encode(text);
        EXPECT_EQ(left->decode(now), text);
        if (std::count(before.begin(), before.end(), -1) == 0) {
          EXPECT_EQ(now, before) << text;
        }
      }
    }
  }
}

// Each line of a text in many languages, by tokenizers in the form of published ones.
TEST(TokenTrees, OfPublishedKindsLeaveTextOfKeptTokensItsIds) {
  const std::string golden = source_path("tests/text/golden");
  const std::string text = read_file(golden + "/mixed_seed.txt");
  for (const char* name : {"llama", "gemma", "llama3", "qwen2", "phi3", "mistral_nemo", "glm4",
                           "bloom", "t5", "unigram_bytes", "opt", "gpt2"}) {
    const TempDir dir;
    std::filesystem::copy(golden + "/" + name, dir.path(),
                          std::filesystem::copy_options::recursive);
    write_file(dir.path() + "/config.json", "{}");
    const int64_t rows = load_tokenizer(dir.path())->vocab_size();
    const TokenTrees trees(dir.path(), rows);
    Ids counts(static_cast<size_t>(rows));
    const std::string half = text.substr(0, text.find('\n', text.size() / 2));
    for (const int64_t id : trees.tokenizer().encode(half)) ++counts[static_cast<size_t>(id)];
    const int64_t required = trees.required_count();
    const Ids keep = trees.choose(trees.uses(counts), required + (rows - required) / 2);
    trees.check(keep);
    const TempDir out;
    const auto left = cut(dir.path(), rows, keep, out);
    const TokenNumbers numbers(rows, keep);
    int same = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at);
      at = end + 1;
      const Ids old = trees.tokenizer().encode(line);
      const Ids before = renumbered(old, numbers);
      const Ids now = left->encode(line);
      EXPECT_EQ(left->decode(now, false), trees.tokenizer().decode(old, false)) << name;
      if (std::count(before.begin(), before.end(), -1) > 0) continue;
      EXPECT_EQ(now, before) << name << ": " << line;
      ++same;
    }
    EXPECT_GT(same, 0) << name;
  }
}

}  // namespace
}  // namespace prunus::test::token_trees_test
