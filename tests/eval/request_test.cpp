#include "prunus/eval/request.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/eval/request_rows.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/stopping_source.h"
#include "support/sub_layers.h"
#include "support/tiny_model.h"

namespace prunus::test::request_test {
namespace {

using Ids = std::vector<int64_t>;

Model model_with(const TinySizes& sizes, const Json& changes) {
  Json config = tiny_config(sizes);
  config.update(changes);
  return Model(parse_config(config, "tiny"), copy_weights(tiny_model(sizes)));
}

Ids some_ids(int64_t count, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor ids = at::randint(0, 29, {count}, generator, at::kLong);
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + count};
}

// Four contexts of unequal lengths with four endings each, some beginning alike; a context that
// begins another; one-id continuations; continuations that begin one another; a request twice.
std::vector<ScoreRequest> mixed_requests() {
  std::vector<ScoreRequest> requests;
  for (const int64_t length : {21, 9, 14, 1}) {
    const Ids context = some_ids(length, static_cast<uint64_t>(length));
    for (const int64_t ending : {5, 3, 7, 1}) {
      Ids continuation = some_ids(ending, static_cast<uint64_t>(100 * length + ending));
      if (ending > 3) continuation[0] = 2;
      requests.push_back({context, continuation});
    }
  }
  const Ids longest = requests[0].context;
  requests.push_back({Ids(longest.begin(), longest.begin() + 12), {4, 5}});
  for (const int64_t id : {7, 8, 9}) requests.push_back({longest, {id}});
  requests.push_back({longest, {7, 8}});
  requests.push_back({longest, {7, 8, 9}});
  requests.push_back(requests[2]);
  return requests;
}

// The request alone through the whole model, in float64 from the logits on.
ScoreResult alone(const Model& model, const ScoreRequest& request) {
  Ids ids = request.context;
  ids.insert(ids.end(), request.continuation.begin(), request.continuation.end());
  const auto most = static_cast<size_t>(model.config().max_position_embeddings) + 1;
  if (ids.size() > most) ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(most));
  const auto inputs = static_cast<int64_t>(ids.size()) - 1;
  const int64_t scored = std::min(inputs, static_cast<int64_t>(request.continuation.size()));
  const at::Tensor row = at::tensor(ids, at::kLong).narrow(0, 0, inputs).unsqueeze(0);
  const at::Tensor log_p = at::log_softmax(logits_of(model, row)[0].to(at::kDouble), 1);
  ScoreResult result{0, true};
  for (int64_t place = inputs - scored; place < inputs; ++place) {
    const int64_t id = ids[static_cast<size_t>(place) + 1];
    result.log_likelihood += log_p[place][id].item<double>();
    result.greedy = result.greedy && log_p[place].argmax().item<int64_t>() == id;
  }
  return result;
}

void expect_as_alone(const Model& model, const std::vector<ScoreRequest>& requests,
                     const RequestOptions& options = {}) {
  const std::vector<ScoreResult> results = score_requests(model, requests, at::kCPU, options);
  ASSERT_EQ(results.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const ScoreResult expected = alone(model, requests[i]);
    EXPECT_NEAR(results[i].log_likelihood / expected.log_likelihood, 1, 1e-5) << "request " << i;
    EXPECT_EQ(results[i].greedy, expected.greedy) << "request " << i;
  }
}

TEST(ScoreRequests, EqualsEveryRequestAloneInEveryFamily) {
  for (const char* family : {"llama", "qwen2", "qwen3", "mistral"}) {
    for (const int64_t kv_heads : {4, 2}) {
      SCOPED_TRACE(c10::str(family, " with ", kv_heads, " key/value heads"));
      const TinySizes sizes{.family = family, .kv_heads = kv_heads};
      expect_as_alone(tiny_model(sizes), mixed_requests());
    }
  }
}

TEST(ScoreRequests, EqualsEveryRequestAloneWithWideHeads) {
  expect_as_alone(tiny_model({.head_dim = 40, .kv_heads = 2}), mixed_requests());
}

// Products and attention in BF16: within its eight bits of what FP32 gives, in every family.
TEST(ScoreRequests, HalfPrecisionIsNearInEveryFamily) {
  for (const std::string& name : golden_names()) {
    Model model = open_model(golden_dir(name));
    const std::vector<ScoreRequest> requests = mixed_requests();
    const std::vector<ScoreResult> exact = score_requests(model, requests, at::kCPU);
    model.set_precision(at::kBFloat16);
    const std::vector<ScoreResult> half = score_requests(model, requests, at::kCPU);
    double difference = 0, whole = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      difference += std::fabs(half[i].log_likelihood - exact[i].log_likelihood);
      whole += std::fabs(exact[i].log_likelihood);
    }
    EXPECT_LT(difference, 0.02 * whole) << name;
    EXPECT_GT(difference, 0) << name;
  }
}

TEST(ScoreRequests, HonoursSlidingWindowsInsideSharedRows) {
  const std::vector<ScoreRequest> requests = mixed_requests();
  const Model windowed = model_with({.family = "mistral"}, {{"sliding_window", 6}});
  expect_as_alone(windowed, requests);
  // And the window matters here.
  const double all =
      alone(model_with({.family = "mistral"}, Json::object()), requests[0]).log_likelihood;
  EXPECT_GT(std::abs(alone(windowed, requests[0]).log_likelihood / all - 1), 1e-3);
}

TEST(ScoreRequests, DropsTheBeginningOfWhatIsLongerThanTheContext) {
  const Model model = model_with({.kv_heads = 2}, {{"max_position_embeddings", 12}});
  std::vector<ScoreRequest> requests = mixed_requests();
  requests.push_back({some_ids(3, 8), some_ids(30, 9)});
  requests.push_back({some_ids(3, 8), some_ids(12, 9)});
  requests.push_back({some_ids(3, 8), some_ids(13, 9)});
  expect_as_alone(model, requests);
}

TEST(CutRequest, LooksAtTheLastIdsOnly) {
  const ScoreRequest request{{1, 2, 3, 4, 5}, {6, 7}};
  // The last 4 of 1…7 are 4 5 6 7; input 4 5 6.
  const CutRequest cut(request, 3);
  EXPECT_EQ(cut.inputs(), 3);
  EXPECT_EQ(cut.scored(), 2);
  EXPECT_EQ(cut.id(0), 4);
  EXPECT_EQ(cut.id(3), 7);
  // The last 2 are 6 7: 6 is no longer predicted.
  EXPECT_EQ(CutRequest(request, 1).inputs(), 1);
  EXPECT_EQ(CutRequest(request, 1).scored(), 1);
  EXPECT_EQ(CutRequest(request, 64).inputs(), 6);
}

TEST(MakeScoreRows, ComputesASharedContextOnce) {
  const Ids context = some_ids(20, 1);
  const std::vector<ScoreRequest> requests{{context, {1, 2, 3}},
                                           {some_ids(20, 2), {1}},
                                           {context, {1, 5, 6, 7}},
                                           {context, {8, 9}},
                                           {context, {8, 4}}};
  std::vector<CutRequest> cuts;
  for (const ScoreRequest& one : requests) cuts.emplace_back(one, 64);
  std::vector<ScoreRow> rows = make_score_rows(cuts, 16);
  std::sort(rows.begin(), rows.end(),
            [](const ScoreRow& a, const ScoreRow& b) { return a.places > b.places; });
  ASSERT_EQ(rows.size(), 2u);
  // Inputs: context 1 2 | context 1 5 6 | context 8 (twice): 20 + 1 + 1 + 2 + 1.
  EXPECT_EQ(rows[0].places, 25);
  EXPECT_EQ(rows[0].members.size(), 4u);
  EXPECT_FALSE(rows[0].plain);
  EXPECT_EQ(rows[1].places, 20);
  EXPECT_TRUE(rows[1].plain);
}

TEST(MakeScoreRows, KeepsRequestsApartThatShareNextToNothing) {
  std::vector<ScoreRequest> requests;
  for (uint64_t i = 0; i < 4; ++i) {
    Ids context = some_ids(30, i);
    context[0] = 1;
    context[1] = static_cast<int64_t>(i);
    requests.push_back({context, {2}});
  }
  std::vector<CutRequest> cuts;
  for (const ScoreRequest& one : requests) cuts.emplace_back(one, 64);
  EXPECT_EQ(make_score_rows(cuts, 16).size(), 4u);
}

TEST(MakeScoreBatch, ShowsAPlaceItsOwnSequenceOnly) {
  const std::vector<ScoreRequest> requests{{{1, 2}, {3, 4, 0}}, {{1, 2}, {5, 0}}, {{1, 2}, {5, 6}}};
  std::vector<CutRequest> cuts;
  for (const ScoreRequest& one : requests) cuts.emplace_back(one, 64);
  const ScoreRow row{{{0, 0}, {1, 2}, {2, 3}}, 5, false};
  const ScoreRow shorter{{{1, 0}}, 3, false};
  const ScoreBatch batch = make_score_batch(cuts, std::vector{row, shorter});
  EXPECT_TRUE(
      at::equal(batch.ids, at::tensor({1, 2, 3, 4, 5, 1, 2, 5, 0, 0}, at::kLong).view({2, 5})));
  ASSERT_TRUE(batch.tree);
  EXPECT_TRUE(at::equal(batch.tree->positions[0], at::tensor({0, 1, 2, 3, 2}, at::kLong)));
  EXPECT_EQ(batch.tree->stem, 4);
  // The third member leaves the first behind its second id; the second row is all stem.
  ASSERT_EQ(batch.tree->branches.size(), 1u);
  const TokenTree::Branches& branches = batch.tree->branches[0];
  EXPECT_TRUE(at::equal(branches.starts, at::tensor({2}, at::kLong)));
  EXPECT_TRUE(at::equal(branches.lengths, at::tensor({3}, at::kLong)));
  EXPECT_TRUE(at::equal(branches.queries, at::tensor({4}, at::kLong).view({1, 1})));
  EXPECT_TRUE(at::equal(branches.keys, at::tensor({0, 1, 4}, at::kLong).view({1, 3})));
  EXPECT_TRUE(at::equal(branches.bias, at::zeros({1, 1, 1, 3})));
  EXPECT_TRUE(at::equal(branches.filled, at::tensor({0}, at::kLong)));
  // 3 4 0 after places 1 2 3; 5 0 after 1 4; 5 6 after the same; then 5 0 in the second row.
  EXPECT_TRUE(at::equal(batch.scored, at::tensor({1, 2, 3, 4, 6, 7}, at::kLong)));
  ASSERT_EQ(batch.targets.size(), 9u);
  EXPECT_EQ(batch.targets[6].id, 6);
  EXPECT_EQ(batch.targets[6].place, 3);
  EXPECT_EQ(batch.targets[6].request, 2u);
}

TEST(ScoreRequests, SaysWhetherTheContinuationIsTheLikeliest) {
  const Model model = tiny_model({});
  const Ids context{1, 2, 3, 4, 5, 6, 7, 8};
  Ids ids = context;
  for (int i = 0; i < 3; ++i) {
    const at::Tensor logits = logits_of(model, at::tensor(ids, at::kLong).unsqueeze(0));
    ids.push_back(logits[0][-1].argmax().item<int64_t>());
  }
  const Ids best(ids.begin() + 8, ids.end());
  std::vector<ScoreRequest> requests{{context, best}};
  for (size_t i = 0; i < best.size(); ++i) {
    Ids other = best;
    other[i] = (other[i] + 1) % 29;
    requests.push_back({context, other});
  }
  const std::vector<ScoreResult> results = score_requests(model, requests, at::kCPU);
  EXPECT_TRUE(results[0].greedy);
  for (size_t i = 1; i < results.size(); ++i) EXPECT_FALSE(results[i].greedy) << i;
}

TEST(ScoreRequests, DoesNotDependOnBatchesPassesOrOrder) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<ScoreRequest> requests = mixed_requests();
  for (const int64_t batch_tokens : {1, 40, 4096}) {
    for (const int64_t hidden_bytes : {int64_t{1}, int64_t{1} << 12}) {
      expect_as_alone(model, requests,
                      {.batch_tokens = batch_tokens, .hidden_bytes = hidden_bytes});
    }
  }
  expect_as_alone(model, {requests.rbegin(), requests.rend()});
  EXPECT_TRUE(score_requests(model, {}, at::kCPU).empty());
}

TEST(ScoreRequests, RefusesEmptyPartsAndForeignIds) {
  const Model model = tiny_model({});
  const auto scoring = [&](Ids context, Ids continuation) {
    return [=, &model] {
      score_requests(model, std::vector<ScoreRequest>{{{1}, {2}}, {context, continuation}},
                     at::kCPU);
    };
  };
  expect_error(ErrorKind::InvalidArgument, "request 1: 0 ids of context", scoring({}, {1}));
  expect_error(ErrorKind::InvalidArgument, "and 0 of continuation", scoring({1}, {}));
  expect_error(ErrorKind::InvalidArgument, "token id 29 is outside", scoring({29}, {1}));
  expect_error(ErrorKind::InvalidArgument, "token id -1 is outside", scoring({1}, {-1}));
}

TEST(ScoreRequests, RefusesResultsThatAreNotNumbers) {
  const Model model = tiny_model({});
  const auto weights = copy_weights(model);
  weights->tensors.at("lm_head.weight").fill_(3e38F);
  const Model broken(model.config(), weights);
  expect_error(ErrorKind::Numeric, "log-likelihood", [&] {
    score_requests(broken, std::vector<ScoreRequest>{{{1, 2}, {3}}}, at::kCPU);
  });
}

class Journal : public testing::Test {
 protected:
  // A pass for every row: hidden_bytes holds one.
  std::vector<ScoreResult> score(const Model& model) const {
    return score_requests(model, requests_, at::kCPU,
                          {.batch_tokens = 1, .hidden_bytes = 1, .journal = path_});
  }
  void expect_same(const std::vector<ScoreResult>& a, const std::vector<ScoreResult>& b) const {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].log_likelihood, b[i].log_likelihood) << i;
      EXPECT_EQ(a[i].greedy, b[i].greedy) << i;
    }
  }
  int64_t lines() const {
    const std::string text = read_file(path_);
    return std::count(text.begin(), text.end(), '\n');
  }

  TempDir dir_;
  std::string path_ = dir_ / "scores.jsonl";
  std::vector<ScoreRequest> requests_ = mixed_requests();
  Model model_ = tiny_model({.kv_heads = 2});
};

// Reads of the first layer: its tensors twice for the key, then once a pass.
int64_t passes(const StoppingSource& source, const Model& model) {
  int64_t tensors = 0;
  for (const TensorInfo& info : model.tensors()) tensors += info.layer == 0 ? 1 : 0;
  return std::count(source.layers.begin(), source.layers.end(), 0) / tensors - 2;
}

TEST_F(Journal, ScoresNothingTwiceAfterAStop) {
  const std::vector<ScoreResult> whole = score(model_);
  const int64_t total = lines() - 1;
  ASSERT_GE(total, 4);
  std::filesystem::remove(path_);

  const auto source = std::make_shared<StoppingSource>(copy_weights(model_));
  const Model stopping(model_.config(), source);
  source->reads_left = 100;
  EXPECT_THROW(score(stopping), Stop);
  const int64_t finished = lines() - 1;
  ASSERT_GE(finished, 1);
  ASSERT_LT(finished, total);

  source->reads_left = int64_t{1} << 40;
  source->layers.clear();
  expect_same(score(stopping), whole);
  EXPECT_EQ(passes(*source, model_), total - finished);

  source->layers.clear();
  expect_same(score(stopping), whole);
  EXPECT_EQ(passes(*source, model_), 0);
}

TEST_F(Journal, ToleratesTheHalfLineOfAKilledProcess) {
  const std::vector<ScoreResult> whole = score(model_);
  const std::string text = read_file(path_);
  // Inside the last line, just before its end, inside the header, and nothing at all.
  for (const size_t size : {text.size() - 9, text.size() - 1, size_t{20}, size_t{0}}) {
    write_file(path_, text.substr(0, size));
    expect_same(score(model_), whole);
    EXPECT_EQ(read_file(path_), text);
  }
}

TEST_F(Journal, GoesOnWithOtherBatchSizes) {
  const std::vector<ScoreResult> whole = score(model_);
  const std::string text = read_file(path_);
  write_file(path_, text.substr(0, text.find('\n', text.find('\n') + 1) + 1));
  const std::vector<ScoreResult> results =
      score_requests(model_, requests_, at::kCPU, {.journal = path_});
  EXPECT_EQ(lines(), 3);
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(results[i].log_likelihood / whole[i].log_likelihood, 1, 1e-5);
  }
}

TEST_F(Journal, RefusesAnotherModelOrOtherRequests) {
  score(model_);
  const auto other = "other requests or another model";
  // Same sizes, other weights.
  expect_error(ErrorKind::Corrupt, other, [&] { score(tiny_model({.kv_heads = 2}, 2)); });
  const Model theta = model_with({.kv_heads = 2}, {{"rope_theta", 500.0}});
  expect_error(ErrorKind::Corrupt, other, [&] { score(theta); });
  // An id goes from one part to the other.
  requests_[0].context.push_back(requests_[0].continuation[0]);
  requests_[0].continuation.erase(requests_[0].continuation.begin());
  expect_error(ErrorKind::Corrupt, other, [&] { score(model_); });
}

TEST_F(Journal, RefusesADamagedFile) {
  score(model_);
  const std::string text = read_file(path_);
  const size_t second = text.find('\n') + 1;
  const std::string header = text.substr(0, second);
  const auto with = [&](const std::string& content) {
    write_file(path_, content);
    return [this] { score(model_); };
  };
  expect_error(ErrorKind::Corrupt, "not a journal", with("{\"format\":\"x\"}\n"));
  expect_error(ErrorKind::Corrupt, "not a journal", with("[1]\n"));
  expect_error(ErrorKind::Corrupt, "line 2", with(header + "[[0,-1.5,tr\n"));
  expect_error(ErrorKind::Corrupt, "array of results", with(header + "{}\n"));
  for (const char* bad : {"[0,-1.5]", "[-1,-1.5,true]", "[0,\"a\",true]", "[0,-1.5,1]", "7"}) {
    expect_error(ErrorKind::Corrupt, "is not [request", with(header + "[" + bad + "]\n"));
  }
  const std::string one = "[[0,-1.5,true]]\n";
  expect_error(ErrorKind::Corrupt, "is there twice", with(header + one + one));
  expect_error(ErrorKind::Corrupt, "not one of the", with(header + "[[99,-1.5,true]]\n"));
  expect_error(ErrorKind::Io, "cannot open", [&] {
    score_requests(model_, requests_, at::kCPU, {.journal = dir_ / "none/scores.jsonl"});
  });
}

// In rows that are trees, behind which the last layer runs on some places only.
TEST(ScoreRequests, PassByDroppedSubLayers) {
  for (const char* family : {"llama_gqa", "bloom", "gemma2", "qwen2_moe"}) {
    const Model model = open_model(golden_dir(family));
    std::vector<ScoreRequest> requests = mixed_requests();
    for (const SubLayer part : kSubLayers) {
      for (const int layer : {0, static_cast<int>(model.layer_count()) - 1}) {
        const auto got = score_requests(without(model, part, layer), requests, at::kCPU);
        const auto meant = score_requests(silenced(model, part, layer), requests, at::kCPU);
        for (size_t i = 0; i < requests.size(); ++i) {
          EXPECT_NEAR(got[i].log_likelihood, meant[i].log_likelihood, 1e-4) << family << " " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace prunus::test::request_test
