// The fast merge against the textbook loop, on random texts and random vocabularies.
#include <random>

#include "prunus/text/bpe_model.h"
#include "prunus/text/utf8.h"

#include "fixture.h"

namespace prunus::text::bpe_oracle_test {
namespace {

using nlohmann::json;
using Symbols = std::vector<std::string>;

const Symbols kAlphabet = {"a", "b", "c", "é", "▁"};

// A model over kAlphabet with random merges; `marks_inside` lets tokens have a mark after another
// character. Ids are alphabetical.
json random_model(std::mt19937& random, bool marks_inside) {
  Symbols tokens = kAlphabet;
  json merges = json::array();
  while (merges.size() < 40) {
    const auto& left = tokens[random() % tokens.size()];
    const auto& right = tokens[random() % tokens.size()];
    const std::string merged = left + right;
    const bool inside = right.starts_with("▁") && !left.ends_with("▁");
    if (merged.size() > 12 || (inside && !marks_inside)) continue;
    const json pair = {left, right};
    if (std::find(merges.begin(), merges.end(), pair) != merges.end()) continue;
    merges.push_back(pair);
    if (std::find(tokens.begin(), tokens.end(), merged) == tokens.end()) tokens.push_back(merged);
  }
  json model = {{"type", "BPE"}, {"merges", merges}};
  for (size_t i = 0; i < tokens.size(); ++i) model["vocab"][tokens[i]] = i;
  return model;
}

// Again and again: the pair of lowest rank, the leftmost of equals. O(n²) and nothing clever.
std::vector<int64_t> textbook(const json& model, Symbols symbols) {
  const auto& merges = model["merges"];
  const auto rank = [&](size_t i) {
    return std::find(merges.begin(), merges.end(), json{symbols[i], symbols[i + 1]}) -
           merges.begin();
  };
  while (true) {
    auto best = static_cast<std::ptrdiff_t>(merges.size());
    size_t where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (rank(i) < best) {
        best = rank(i);
        where = i;
      }
    }
    if (best == static_cast<std::ptrdiff_t>(merges.size())) break;
    symbols[where] += symbols[where + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  std::vector<int64_t> ids;
  for (const auto& symbol : symbols) ids.push_back(model["vocab"][symbol].get<int64_t>());
  return ids;
}

void compare(bool marks_inside) {
  std::mt19937 random(7);
  int cutting = 0;
  for (int round = 0; round < 30; ++round) {
    const TestDirectory dir;
    const json model = random_model(random, marks_inside);
    const auto tokenizer = dir.load({{"model", model}});
    cutting += BpeModel(JsonView(model, "test")).cuts_at_marks() ? 1 : 0;
    for (int text = 0; text < 20; ++text) {
      Symbols symbols(1 + random() % 40);
      std::string joined;
      for (auto& symbol : symbols) joined += symbol = kAlphabet[random() % kAlphabet.size()];
      ASSERT_EQ(tokenizer->encode(joined), textbook(model, symbols)) << joined << "\n" << model;
    }
  }
  EXPECT_EQ(cutting, marks_inside ? 0 : 30);
}

TEST(BpeModel, EqualsTheTextbookLoopWhereWordsAreCutAtMarks) { compare(false); }

TEST(BpeModel, EqualsTheTextbookLoopWhereTokensReachAcrossMarks) { compare(true); }

TEST(BpeModel, TakesTheLeftmostOfEqualPairs) {
  const json model = json::parse(R"({"vocab": {"a": 0, "aa": 1}, "merges": ["a a"]})");
  std::vector<int64_t> ids;
  BpeModel(JsonView(model, "test")).tokenize("aaaaa", ids);
  EXPECT_EQ(ids, (std::vector<int64_t>{1, 1, 0}));
}

TEST(BpeModel, TokenizesAVeryLongWordQuickly) {
  const json model =
      json::parse(R"({"vocab": {"a": 0, "aa": 1, "aaaa": 2}, "merges": ["a a", "aa aa"]})");
  std::vector<int64_t> ids;
  BpeModel(JsonView(model, "test")).tokenize(std::string(1 << 20, 'a'), ids);
  EXPECT_EQ(ids.size(), size_t{1} << 18);
}

}  // namespace
}  // namespace prunus::text::bpe_oracle_test
