#include "prunus/train/self_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/json.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::self_data_test {
namespace {

constexpr int64_t kVocab = 5;

class NamedIds : public Tokenizer {
 public:
  NamedIds(std::optional<int64_t> bos, std::optional<int64_t> eos) {
    special_.bos = bos;
    special_.eos = eos;
    vocab_size_ = kVocab;
  }
  std::vector<int64_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const int64_t>, bool) const override { return ""; }
  std::string_view kind() const override { return "none"; }
};

// A model in which the next id depends on the last one alone: the embedding of id i is the unit
// vector i, attention and feed-forward add nothing, and RMSNorm gives √hidden · (1 ± ε) at place i.
// So logit j after id i is that times head[j, i]. No sum has more than one term that is not zero,
// so batches of every shape give the same bits.
Model chain(const at::Tensor& logits) {
  const TinySizes sizes{.hidden = 8, .vocab = kVocab};
  auto weights = copy_weights(tiny_model(sizes));
  for (auto& [name, tensor] : weights->tensors) {
    const auto is = [&, &key = name](const char* part) { return key.find(part) != key.npos; };
    if (is("embed_tokens")) tensor = at::eye(kVocab, sizes.hidden);
    if (is("o_proj") || is("down_proj")) tensor.zero_();
    if (is("norm")) tensor.fill_(1);
    if (is("lm_head")) {
      tensor.zero_().narrow(1, 0, kVocab).copy_(logits.t() / std::sqrt(8.0));
    }
  }
  return Model(parse_config(tiny_config(sizes), "chain"), weights);
}

// Row i: probability of each id after id i. Id 0 is BOS, 1 is EOS.
at::Tensor transitions() {
  return at::tensor({0.1, 0.1, 0.2, 0.4,  0.2,  //
                     0.2, 0.2, 0.2, 0.2,  0.2,  //
                     0.1, 0.3, 0.1, 0.3,  0.2,  //
                     0.5, 0.1, 0.1, 0.1,  0.2,  //
                     0.1, 0.2, 0.6, 0.05, 0.05})
      .to(at::kDouble)
      .view({kVocab, kVocab});
}

Model sampled_chain() { return chain(transitions().log()); }

std::vector<TrainRow> generate(const Model& model, const Tokenizer& tokenizer,
                               const SelfDataOptions& options) {
  return generate_rows(model, tokenizer, at::kCPU, options);
}

std::vector<std::vector<int64_t>> ids_of(const std::vector<TrainRow>& rows) {
  std::vector<std::vector<int64_t>> ids;
  for (const TrainRow& row : rows) ids.push_back(row.ids);
  return ids;
}

// counts[i][j]: how often j follows i.
at::Tensor count_pairs(const std::vector<TrainRow>& rows) {
  at::Tensor counts = at::zeros({kVocab, kVocab}, at::kDouble);
  for (const TrainRow& row : rows) {
    for (size_t k = 1; k < row.ids.size(); ++k) counts[row.ids[k - 1]][row.ids[k]] += 1;
  }
  return counts;
}

// Largest deviation of relative frequencies, in standard deviations of a binomial count.
double worst_deviation(const at::Tensor& counts, const at::Tensor& probability) {
  const at::Tensor from = counts.sum(1, true);
  const at::Tensor deviation = (from * probability * (1 - probability)).sqrt();
  return ((counts - from * probability) / deviation).abs().max().item<double>();
}

TEST(GenerateRows, DrawsEveryNextIdWithTheModelsProbability) {
  const auto rows = generate(sampled_chain(), NamedIds(2, {}),
                             {.rows = 400, .row_tokens = 50, .seed = 1, .batch_rows = 400});
  EXPECT_LT(worst_deviation(count_pairs(rows), transitions()), 4);
}

TEST(GenerateRows, DividesLogitsByTheTemperature) {
  const auto rows =
      generate(sampled_chain(), NamedIds(2, {}),
               {.rows = 400, .row_tokens = 50, .temperature = 0.5, .seed = 1, .batch_rows = 400});
  // p² / Σ p²: dividing by ½ squares.
  const at::Tensor sharp = transitions().square() / transitions().square().sum(1, true);
  EXPECT_LT(worst_deviation(count_pairs(rows), sharp), 4);
  EXPECT_GT(worst_deviation(count_pairs(rows), transitions()), 10);
}

TEST(GenerateRows, BeginANewTextWithBosAfterEos) {
  const auto rows = generate(sampled_chain(), NamedIds(0, 1),
                             {.rows = 100, .row_tokens = 50, .seed = 2, .batch_rows = 100});
  const at::Tensor counts = count_pairs(rows);
  EXPECT_GT(counts[1][0].item<double>(), 300);
  EXPECT_EQ(counts[1].sum().item<double>(), counts[1][0].item<double>());
  for (const int64_t other : {0, 2, 3, 4}) {
    EXPECT_LT(worst_deviation(counts.narrow(0, other, 1), transitions().narrow(0, other, 1)), 4);
  }
}

TEST(GenerateRows, ForceNothingWhereOneIdBeginsAndEndsATextOrThereIsNoBos) {
  for (const NamedIds& tokenizer : {NamedIds(1, 1), NamedIds({}, 1)}) {
    const auto rows = generate(sampled_chain(), tokenizer,
                               {.rows = 200, .row_tokens = 50, .seed = 3, .batch_rows = 200});
    for (const TrainRow& row : rows) EXPECT_EQ(row.ids.front(), 1);
    EXPECT_LT(worst_deviation(count_pairs(rows), transitions()), 4);
  }
}

TEST(GenerateRows, BeginWithAnyIdWhereTheTokenizerHasNoMarks) {
  const auto rows = generate(sampled_chain(), NamedIds({}, {}),
                             {.rows = 1000, .row_tokens = 2, .seed = 4, .batch_rows = 500});
  std::vector<int> firsts(kVocab);
  for (const TrainRow& row : rows) ++firsts[static_cast<size_t>(row.ids.front())];
  for (const int count : firsts) EXPECT_NEAR(count, 200, 51);  // four deviations of √(1000·⅕·⅘)
}

TEST(GenerateRows, ScoreAllButTheFirstId) {
  for (const TrainRow& row :
       generate(sampled_chain(), NamedIds(0, 1), {.rows = 3, .row_tokens = 4})) {
    EXPECT_EQ(row.ids.size(), 4u);
    EXPECT_EQ(row.scored, (std::vector<uint8_t>{0, 1, 1, 1}));
  }
}

TEST(GenerateRows, DependOnTheSeedAndTheRowNumberButNotOnTheRowsAtATime) {
  const Model model = sampled_chain();
  for (const NamedIds& tokenizer : {NamedIds(0, 1), NamedIds({}, {})}) {
    const auto draw = [&](int64_t rows, int64_t batch_rows, uint64_t seed) {
      return ids_of(
          generate(model, tokenizer,
                   {.rows = rows, .row_tokens = 20, .seed = seed, .batch_rows = batch_rows}));
    };
    const auto rows = draw(10, 10, 7);
    for (const int64_t batch_rows : {1, 3, 64}) EXPECT_EQ(draw(10, batch_rows, 7), rows);
    const auto fewer = draw(4, 3, 7);
    EXPECT_TRUE(std::equal(fewer.begin(), fewer.end(), rows.begin()));
    EXPECT_NE(draw(10, 10, 8), rows);
    EXPECT_NE(rows[0], rows[1]);
  }
}

// At a temperature near 0 sampling takes the likeliest id: the gap between the two best logits,
// about 0.1 and seldom below 0.001, is divided by 1e-6, while batches of other shapes change
// logits by about 1e-6. So this holds for real attention with its cache.
TEST(GenerateRows, FollowTheFullForwardPassThroughTheCache) {
  for (const char* family : {"llama", "qwen3"}) {
    const Model model = tiny_model({.family = family, .kv_heads = 2});
    const SelfDataOptions options{.rows = 6, .row_tokens = 24, .temperature = 1e-6, .seed = 2};
    const auto rows = generate(model, NamedIds({}, {}), options);
    for (const TrainRow& row : rows) {
      const auto count = std::ssize(row.ids);
      const at::Tensor ids = at::tensor(row.ids, at::kLong);
      const at::Tensor best = logits_of(model, ids.unsqueeze(0))[0].argmax(-1);
      EXPECT_TRUE(at::equal(best.narrow(0, 0, count - 1), ids.narrow(0, 1, count - 1)));
    }
    for (const int64_t batch_rows : {1, 4}) {
      SelfDataOptions other = options;
      other.batch_rows = batch_rows;
      EXPECT_EQ(ids_of(generate(model, NamedIds({}, {}), other)), ids_of(rows));
    }
  }
}

TEST(GenerateRows, BearATemperatureThatOverflowsEveryQuotient) {
  const auto rows = generate(sampled_chain(), NamedIds(3, {}),
                             {.rows = 2, .row_tokens = 4, .temperature = 1e-308});
  // The likeliest after 3 is 0, after 0 it is 3.
  for (const TrainRow& row : rows) EXPECT_EQ(row.ids, (std::vector<int64_t>{3, 0, 3, 0}));
}

TEST(GenerateRows, RefuseOptionsOutOfRangeAndAnotherModelsTokenizer) {
  const Model model = sampled_chain();
  const NamedIds tokenizer(0, 1);
  const auto refuses = [&](const std::string& part, const SelfDataOptions& options) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { generate(model, tokenizer, options); });
  };
  refuses("rows: got 0", {.rows = 0, .row_tokens = 8});
  refuses("got 1, expected 2 to the model's context of 64", {.row_tokens = 1});
  refuses("got 65, expected 2 to the model's context of 64", {.row_tokens = 65});
  refuses("got 0, expected above 0", {.row_tokens = 8, .temperature = 0});
  refuses("got inf", {.row_tokens = 8, .temperature = std::numeric_limits<double>::infinity()});
  refuses("at a time: got 0", {.row_tokens = 8, .batch_rows = 0});
  expect_error(ErrorKind::InvalidArgument, "special id 5 is outside",
               [&] { generate(model, NamedIds(0, kVocab), {.row_tokens = 8}); });
}

TEST(GenerateRows, RefuseLogitsThatAreNotFinite) {
  // Weights of ±3e38 are finite, ±3e38 · √8 overflows FP32.
  for (const double weight : {3e38, -3e38}) {
    const Model model = chain(at::full({kVocab, kVocab}, weight * std::sqrt(8.0), at::kDouble));
    expect_error(ErrorKind::Numeric, "not finite",
                 [&] { generate(model, NamedIds(0, 1), {.row_tokens = 8}); });
  }
}

}  // namespace
}  // namespace prunus::test::self_data_test
