// The Viterbi search against all ways to cut a word, and the rules around unknown characters.
#include <functional>
#include <random>

#include "prunus/text/unigram_model.h"

#include "fixture.h"

namespace prunus::text::unigram_oracle_test {
namespace {

using nlohmann::json;
using Ids = std::vector<int64_t>;

Ids tokenize(const json& model, std::string_view word) {
  Ids ids;
  UnigramModel(JsonView(model, "test")).tokenize(word, ids);
  return ids;
}

struct Cut {
  double score = -1e300;
  Ids ids;
  double second = -1e300;  // score of the next best cut
};

// Tries every cut of a word of one-byte characters; unknown ones become id 0, neighbours one.
Cut best_of_all(const json& vocab, const std::string& word, double unknown_score) {
  Cut best;
  const std::function<void(size_t, Cut)> extend = [&](size_t at, const Cut& so_far) {
    if (at == word.size()) {
      const double second = std::max(best.second, std::min(best.score, so_far.score));
      if (so_far.score > best.score) best = so_far;
      best.second = second;
      return;
    }
    bool single = false;
    for (size_t id = 1; id < vocab.size(); ++id) {
      const auto piece = vocab[id][0].get<std::string>();
      if (word.compare(at, piece.size(), piece) != 0) continue;
      single = single || piece.size() == 1;
      Cut next = so_far;
      next.score += vocab[id][1].get<double>();
      next.ids.push_back(static_cast<int64_t>(id));
      extend(at + piece.size(), next);
    }
    if (single) return;
    Cut next = so_far;
    next.score += unknown_score;
    if (next.ids.empty() || next.ids.back() != 0) next.ids.push_back(0);
    extend(at + 1, next);
  };
  extend(0, {.score = 0, .ids = {}});
  return best;
}

TEST(UnigramModel, FindsTheBestOfAllCuts) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> score(-9, -1);
  int compared = 0;
  for (int round = 0; round < 60; ++round) {
    json vocab = json::array({json::array({"?", 0.0})});
    double lowest = 0;
    for (const char* piece : {"a", "b", "ab", "ba", "aab", "bca", "abc", "cc", "ccab"}) {
      if (random() % 4 == 0) continue;
      vocab.push_back(json::array({piece, score(random)}));
      lowest = std::min(lowest, vocab.back()[1].get<double>());
    }
    const json model = {{"type", "Unigram"}, {"vocab", vocab}, {"unk_id", 0}};
    for (int text = 0; text < 10; ++text) {
      std::string word(1 + random() % 10, 'a');
      for (char& c : word) c = "abc"[random() % 3];
      const Cut best = best_of_all(vocab, word, lowest - 10);
      if (best.score - best.second < 1e-9) continue;  // any of them is right
      ++compared;
      EXPECT_EQ(tokenize(model, word), best.ids) << word << vocab;
    }
  }
  EXPECT_GT(compared, 300);
}

TEST(UnigramModel, SpellsUnknownCharactersInBytesWhereAllBytesArePieces) {
  json model = {{"type", "Unigram"}, {"unk_id", 0}, {"byte_fallback", true}};
  model["vocab"] = json::parse(R"([["<unk>", 0], ["a", -1], ["<0xC3>", -2], ["<0xA9>", -2]])");
  EXPECT_EQ(tokenize(model, "aéa"), (Ids{1, 2, 3, 1}));
  EXPECT_EQ(tokenize(model, "éé"), (Ids{2, 3, 2, 3}));
  EXPECT_EQ(tokenize(model, "éèa"), (Ids{0, 1}));  // <0xA8> is no piece
  model["byte_fallback"] = false;
  EXPECT_EQ(tokenize(model, "aééa"), (Ids{1, 0, 1}));
}

TEST(UnigramModel, CannotTokenizeAnUnknownCharacterWithoutUnkId) {
  const json model = {{"type", "Unigram"}, {"vocab", json::parse(R"([["a", -1]])")}};
  EXPECT_EQ(tokenize(model, "aa"), (Ids{0, 0}));
  expect_error(ErrorKind::InvalidArgument, "no unk_id", [&] { tokenize(model, "ab"); });
}

TEST(UnigramModel, TakesTheLaterOfAPieceListedTwice) {
  const json model = {{"type", "Unigram"}, {"vocab", json::parse(R"([["a", -1], ["a", -2]])")}};
  EXPECT_EQ(tokenize(model, "a"), Ids{1});
}

}  // namespace
}  // namespace prunus::text::unigram_oracle_test
