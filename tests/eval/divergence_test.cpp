#include "prunus/eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/stopping_source.h"
#include "support/tiny_model.h"

namespace prunus::test::divergence_test {
namespace {

EvalText some_sequences() {
  return {.protocol = {}, .sequences = {{1, 2, 3}, {4, 5, 6, 7, 8, 9, 10}, {11, 12}, {3, 3, 3, 3}}};
}

struct Expected {
  double kl = 0;         // nats a token
  double agreement = 0;  // share
  double dense_nll = 0;
  double model_nll = 0;
};

// Sum over all tokens, those beyond the `kept` likeliest of p added up first: plain FP64.
double bucket_kl(const std::vector<double>& p, const std::vector<double>& q, size_t kept) {
  std::vector<size_t> order(p.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  double kl = 0, p_rest = 0, q_rest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t j = order[i];
    if (i < kept) {
      kl += p[j] * std::log(p[j] / q[j]);
    } else {
      p_rest += p[j];
      q_rest += q[j];
    }
  }
  return p_rest > 0 ? kl + p_rest * std::log(p_rest / q_rest) : kl;
}

std::vector<double> distribution(const at::Tensor& logits) {
  const at::Tensor p = at::softmax(logits.to(at::kDouble), 0);
  return {p.data_ptr<double>(), p.data_ptr<double>() + p.numel()};
}

Expected brute_force(const Model& dense, const Model& model, const EvalText& text, size_t kept) {
  Expected sums;
  double count = 0;
  for (const auto& sequence : text.sequences) {
    const at::Tensor ids = at::tensor(sequence, at::kLong).unsqueeze(0);
    const at::Tensor dense_logits = logits_of(dense, ids)[0];
    const at::Tensor model_logits = logits_of(model, ids)[0];
    for (size_t t = 0; t + 1 < sequence.size(); ++t, ++count) {
      const auto p = distribution(dense_logits[static_cast<int64_t>(t)]);
      const auto q = distribution(model_logits[static_cast<int64_t>(t)]);
      const auto next = static_cast<size_t>(sequence[t + 1]);
      sums.kl += bucket_kl(p, q, kept);
      sums.agreement += std::max_element(p.begin(), p.end()) - p.begin() ==
                        std::max_element(q.begin(), q.end()) - q.begin();
      sums.dense_nll -= std::log(p[next]);
      sums.model_nll -= std::log(q[next]);
    }
  }
  return {sums.kl / count, sums.agreement / count, sums.dense_nll / count, sums.model_nll / count};
}

class DivergenceTest : public ::testing::Test {
 protected:
  Divergence measure(int64_t top_k, const std::string& cache = {},
                     const std::string& hash = "dense") const {
    return measure_divergence({dense, at::kCPU, 1}, {model, at::kCPU}, text,
                              {.top_k = top_k, .cache = cache, .dense_hash = hash});
  }

  Model dense = tiny_model({.kv_heads = 2}, 1);
  Model model = tiny_model({.ffn = 8}, 2);
  EvalText text = some_sequences();
  TempDir dir;
};

TEST_F(DivergenceTest, OfTheWholeVocabularyEqualsBruteForce) {
  const Expected expected = brute_force(dense, model, text, 29);
  for (const int64_t top_k : {29, 512}) {
    const Divergence result = measure(top_k);
    EXPECT_EQ(result.tokens, 12);
    EXPECT_EQ(result.top_k, 29);
    EXPECT_TRUE(result.exact);
    EXPECT_NEAR(result.kl.value, expected.kl, 1e-5 * expected.kl);
    EXPECT_DOUBLE_EQ(result.agreement.value, expected.agreement);
    EXPECT_NEAR(result.dense_nll.value, expected.dense_nll, 1e-5 * expected.dense_nll);
    EXPECT_NEAR(result.model_nll.value, expected.model_nll, 1e-5 * expected.model_nll);
  }
}

TEST_F(DivergenceTest, OfAFewTokensIsThatOfTheBucketsAndALowerBound) {
  const double whole = brute_force(dense, model, text, 29).kl;
  double before = 0;
  for (const int64_t top_k : {1, 2, 5, 20}) {
    const Divergence result = measure(top_k);
    const double expected = brute_force(dense, model, text, static_cast<size_t>(top_k)).kl;
    EXPECT_NEAR(result.kl.value, expected, 1e-5 * expected) << top_k;
    EXPECT_FALSE(result.exact);
    EXPECT_GT(result.kl.value, before);
    EXPECT_LT(result.kl.value, whole);
    before = result.kl.value;
  }
  // A rest of a single token is no bucket.
  EXPECT_NEAR(measure(28).kl.value, whole, 1e-5 * whole);
}

TEST_F(DivergenceTest, OfAModelFromItselfIsNothing) {
  model = tiny_model({.kv_heads = 2}, 1);
  for (const int64_t top_k : {3, 29}) {
    const Divergence result = measure(top_k);
    EXPECT_NEAR(result.kl.value, 0.0, 1e-7);
    EXPECT_DOUBLE_EQ(result.agreement.value, 1.0);
    EXPECT_DOUBLE_EQ(result.dense_nll.value, result.model_nll.value);
  }
}

TEST_F(DivergenceTest, EqualsTheFormulaOnWeightsChosenByHand) {
  // Without attention and feed-forward, of one-hot embeddings and a diagonal head: after token t
  // the logits are those of t's row of the head, and two tokens make two outcomes.
  const TinySizes sizes{
      .hidden = 2, .head_dim = 2, .q_heads = 1, .kv_heads = 1, .ffn = 2, .vocab = 2, .layers = 1};
  const Model any = tiny_model(sizes);
  const auto with_head = [&](float odds) {
    auto weights = copy_weights(any);
    for (auto& [name, tensor] : weights->tensors) {
      if (name.find("proj") != name.npos) tensor.zero_();
      if (name.find("norm") != name.npos) tensor.fill_(1.0);
    }
    weights->tensors.at("model.embed_tokens.weight") = at::eye(2);
    // The final norm scales a one-hot row of two by √2.
    weights->tensors.at("lm_head.weight") =
        at::tensor({std::log(odds) / std::sqrt(2.0F), 0.0F, 0.0F, 0.0F}).view({2, 2});
    return Model(any.config(), weights);
  };
  dense = with_head(3);  // after token 0: p = 3/4, 1/4
  model = with_head(1);  // q = 1/2, 1/2
  text = {.protocol = {}, .sequences = {{0, 0}, {0, 1}}};
  const Divergence result = measure(2);
  const double kl = 0.75 * std::log(1.5) + 0.25 * std::log(0.5);
  EXPECT_NEAR(result.kl.value, kl, 1e-4);
  EXPECT_NEAR(result.dense_nll.value, -(std::log(0.75) + std::log(0.25)) / 2, 1e-4);
  EXPECT_NEAR(result.model_nll.value, std::log(2.0), 1e-5);
  EXPECT_NEAR(result.kl.standard_error.value(), 0.0, 1e-6);
  // The sum p = q: where one token is kept of two, the rest is the other and nothing is lost.
  EXPECT_NEAR(measure(1).kl.value, kl, 1e-4);
}

TEST_F(DivergenceTest, DoesNotRunTheDenseModelAgainWhereItsPartIsKept) {
  const std::string cache = dir / "dense.topk";
  const Divergence first = measure(5, cache);
  EXPECT_FALSE(first.cache_reused);
  const auto source = std::make_shared<StoppingSource>(dense.shared_source());
  dense = Model(dense.config(), source);
  const Divergence second = measure(5, cache);
  EXPECT_TRUE(second.cache_reused);
  EXPECT_TRUE(source->layers.empty());
  EXPECT_EQ(first.kl.value, second.kl.value);
  EXPECT_EQ(first.dense_nll.value, second.dense_nll.value);
}

TEST_F(DivergenceTest, MakesTheCacheAnewForAnotherTextModelOrNumber) {
  const std::string cache = dir / "dense.topk";
  measure(5, cache);
  EXPECT_TRUE(measure(5, cache).cache_reused);
  EXPECT_FALSE(measure(6, cache).cache_reused);
  EXPECT_FALSE(measure(6, cache, "another").cache_reused);
  text.sequences[0][1] = 9;
  EXPECT_FALSE(measure(6, cache, "another").cache_reused);
  EXPECT_TRUE(measure(6, cache, "another").cache_reused);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST_F(DivergenceTest, FindsAnyChangedByteOfTheCache) {
  const std::string cache = dir / "dense.topk";
  measure(5, cache);
  const std::string good = read_file(cache);
  const size_t body = good.find('\n') + 1;
  for (size_t at = body; at < good.size(); at += 37) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    write_file(cache, bad);
    expect_error(ErrorKind::Corrupt, "delete the file", [&] { measure(5, cache); });
  }
  write_file(cache, good.substr(0, good.size() - 1));
  expect_error(ErrorKind::Corrupt, "delete the file", [&] { measure(5, cache); });
}

TEST_F(DivergenceTest, RefusesWhatMakesNoSense) {
  const auto refuses = [&](const std::string& part, const std::function<void()>& act) {
    expect_error(ErrorKind::InvalidArgument, part, act);
  };
  refuses("top_k", [&] { measure(0); });
  refuses("hash", [&] { measure(5, dir / "cache", ""); });
  write_file(dir / "letter.txt", "dear diary");
  refuses("choose another name", [&] { measure(5, dir / "letter.txt"); });
  EXPECT_EQ(read_file(dir / "letter.txt"), "dear diary");
  model = tiny_model({.vocab = 30});
  refuses("vocabulary", [&] { measure(5); });
}

TEST_F(DivergenceTest, LeavesNothingBehindWhereTheDenseModelFails) {
  const auto source = std::make_shared<StoppingSource>(dense.shared_source());
  source->reads_left = 8;
  dense = Model(dense.config(), source);
  EXPECT_THROW(measure(5, dir / "dense.topk"), Stop);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(CheckpointHash, TellsModelsApart) {
  const TempDir dir;
  const TinySizes sizes;
  save_model(tiny_model(sizes, 1), tiny_config(sizes), dir / "a");
  save_model(tiny_model(sizes, 1), tiny_config(sizes), dir / "b");
  save_model(tiny_model(sizes, 2), tiny_config(sizes), dir / "c");
  EXPECT_EQ(checkpoint_hash(dir / "a"), checkpoint_hash(dir / "b"));
  EXPECT_NE(checkpoint_hash(dir / "a"), checkpoint_hash(dir / "c"));
  Json config = tiny_config(sizes);
  config["rms_norm_eps"] = 0.5;
  write_file(dir / "b/config.json", config.dump());
  EXPECT_NE(checkpoint_hash(dir / "a"), checkpoint_hash(dir / "b"));
}

}  // namespace
}  // namespace prunus::test::divergence_test
