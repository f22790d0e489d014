#include "prunus/calib/stream.h"

#include <map>
#include <memory>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/calib/gradient_collector.h"

#include "support/tiny_model.h"

namespace prunus::test::stream_test {
namespace {

// Writes down which sites passed, in order.
class Recorder : public Collector {
 public:
  std::vector<std::pair<int, Role>> forward, backward;
  bool wants(int layer, Role) const override { return layer >= 0; }
  void on_forward(const LinearSite& site, const at::Tensor&, const at::Tensor&) override {
    forward.emplace_back(site.layer, site.role);
  }
  void on_backward(const BackwardProduct& product) override {
    backward.emplace_back(product.site.layer, product.site.role);
  }
};

// A source that counts what is held between read and release.
class CountingSource : public WeightSource {
 public:
  explicit CountingSource(std::shared_ptr<const WeightSource> inner) : inner_(std::move(inner)) {}
  mutable int reads = 0;
  mutable std::set<int> layers_held;
  mutable size_t most_layers = 0;

  at::Tensor read(const TensorInfo& tensor) const override {
    ++reads;
    if (tensor.layer >= 0) layers_held.insert(tensor.layer);
    most_layers = std::max(most_layers, layers_held.size());
    return inner_->read(tensor);
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override { return inner_->dtype(tensor); }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo& tensor) const override { layers_held.erase(tensor.layer); }

 private:
  std::shared_ptr<const WeightSource> inner_;
};

TEST(MakeBatches, KeepsWindowsWholeAndRefusesUnequalOnes) {
  const std::vector<std::vector<int64_t>> windows(5, {1, 2, 3});
  const auto batches = make_batches(windows, 6);
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[0].ids.sizes(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(batches[2].ids.sizes(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(make_batches(windows, 1).size(), 5u);
  EXPECT_THROW(make_batches({{1, 2}, {1, 2, 3}}), Error);
  EXPECT_THROW(make_batches({}), Error);
}

TEST(BlockStream, ShowsEveryProductOnceForwardAndOnlyTheRangeBackward) {
  const Model model = tiny_model({.layers = 3});
  Recorder recorder;
  const BlockStream stream(model, at::kCPU);
  const std::vector<TokenBatch> batches{{random_ids(model, 2, 6)}};
  std::vector<at::Tensor> hidden = stream.embed(batches);
  stream.forward(hidden, &recorder);
  EXPECT_EQ(recorder.forward.size(), 3u * 7);
  EXPECT_EQ(recorder.forward.front(), (std::pair{0, Role::QProj}));
  stream.backward(batches, {1, 3}, recorder);
  EXPECT_EQ(recorder.backward.size(), 2u * 7);
  EXPECT_EQ(recorder.backward.front(), (std::pair{2, Role::DownProj}));
  EXPECT_EQ(recorder.backward.back().first, 1);
}

TEST(BlockStream, HoldsOneLayerAtATime) {
  const Model whole = tiny_model({.layers = 5});
  const auto counting = std::make_shared<CountingSource>(whole.shared_source());
  const Model model(whole.config(), counting);
  Recorder recorder;
  BlockStream(model, at::kCPU).backward({{random_ids(model, 2, 6)}}, {0, 5}, recorder);
  EXPECT_EQ(counting->most_layers, 1u);
  // Embedding, head and final norm once, nine tensors a layer forward and backward.
  EXPECT_EQ(counting->reads, 1 + 1 + 1 + 2 * 5 * 9);
}

TEST(BlockStream, GivesTheSameSumsInOneBatchAndInMany) {
  const Model model = tiny_model({.kv_heads = 2});
  const at::Tensor ids = random_ids(model, 6, 9);
  const auto run = [&](const std::vector<TokenBatch>& batches) {
    std::map<std::pair<int, Role>, at::Tensor> gradients;
    GradientCollector collector(
        Needs{.statistics = {&stats::gradient}}, [](int, Role) { return true; },
        [&](const LinearSite& site, const WeightStats& stats) {
          gradients[{site.layer, site.role}] = gradient_of(stats.of(stats::gradient));
        });
    BlockStream(model, at::kCPU).backward(batches, {0, 2}, collector);
    return gradients;
  };
  const auto one = run({{ids}});
  const auto many = run({{ids.narrow(0, 0, 1)}, {ids.narrow(0, 1, 3)}, {ids.narrow(0, 4, 2)}});
  ASSERT_EQ(one.size(), 2u * 7 + 2 * 2 + 3);  // matrices, norms; final norm, embedding, head
  for (const auto& [site, gradient] : one) {
    EXPECT_LT(relative_error(many.at(site), gradient), 1e-5);
  }
}

// Products in BF16, statistics in FP32: as near to FP64's as the operands' eight bits allow
// behind two layers.
TEST(BlockStream, GathersFromBFloat16InFloat32) {
  for (const bool tied : {false, true}) {
    Model model = tiny_model({.kv_heads = 2, .tied = tied});
    const std::vector<TokenBatch> batches{{random_ids(model, 4, 32)}};
    const auto run = [&](at::ScalarType precision) {
      model.set_precision(precision);
      std::map<std::pair<int, Role>, at::Tensor> found;
      GradientCollector collector(
          Needs{.statistics = {&stats::gradient, &stats::squared_gradient}},
          [](int, Role) { return true; },
          [&](const LinearSite& site, const WeightStats& stats) {
            found[{site.layer, site.role}] = gradient_of(stats.of(stats::gradient));
          });
      BlockStream(model, at::kCPU).backward(batches, {0, 2}, collector);
      return found;
    };
    const auto exact = run(at::kDouble), half = run(at::kBFloat16);
    ASSERT_EQ(half.size(), exact.size());
    for (const auto& [site, gradient] : exact) {
      EXPECT_NE(half.at(site).scalar_type(), at::kBFloat16);
      const double error = (half.at(site) - gradient).norm().item<double>();
      EXPECT_LT(error, 0x1p-3 * gradient.norm().item<double>())
          << site.first << " " << static_cast<int>(site.second);
    }
  }
}

TEST(BlockStream, IsTheSameBitForBitASecondTime) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<TokenBatch> batches{{random_ids(model, 4, 16)}};
  const auto run = [&] {
    std::vector<at::Tensor> sums;
    GradientCollector collector(
        Needs{.statistics = {&stats::saliency}}, [](int, Role) { return true; },
        [&](const LinearSite&, const WeightStats& stats) {
          const StatisticSums& saliency = stats.of(stats::saliency);
          for (const at::Tensor& one :
               {row_saliency_of(saliency, stats.weight), column_saliency_of(saliency)}) {
            if (one.defined()) sums.push_back(one);
          }
        });
    BlockStream(model, at::kCPU).backward(batches, {0, 2}, collector);
    return at::cat(sums);
  };
  EXPECT_TRUE(at::equal(run(), run()));
}

// docs/design.md section 2.4: Σ_i W[k,i]·g[k,i] = Σ_t y[t,k]·∂L/∂y[t,k], columns likewise.
// With the bias as one more column where it counts.
TEST(GradientCollector, SaliencyEqualsTheProductWithTheGradient) {
  const Model model = tiny_model({.family = "qwen2", .kv_heads = 2});
  const std::vector<TokenBatch> batches{{random_ids(model, 3, 8)}};
  std::map<std::pair<int, Role>, WeightStats> by_gradient, by_saliency, without;
  for (auto* stats : {&by_gradient, &by_saliency, &without}) {
    GradientCollector collector(
        stats == &by_gradient ? Needs{.statistics = {&stats::gradient}}
                              : Needs{.statistics = {&stats::saliency}},
        [](int, Role) { return true; },
        [&](const LinearSite& site, const WeightStats& one) {
          (*stats)[{site.layer, site.role}] = one;
        },
        stats == &without ? Biases::Ignored : Biases::Counted);
    BlockStream(model, at::kCPU).backward(batches, {0, 2}, collector);
  }
  int biased = 0;
  for (const auto& [site, stats] : by_gradient) {
    const StatisticSums& sums = stats.of(stats::gradient);
    const at::Tensor product = stats.weight.to(at::kDouble) * gradient_of(sums).to(at::kDouble);
    const auto rows_of = [&](const WeightStats& one) {
      return row_saliency_of(one.of(stats::saliency), stats.weight);
    };
    if (rows_of(by_saliency.at(site)).defined()) {
      at::Tensor rows = product.sum(1);
      EXPECT_LT(relative_error(rows_of(without.at(site)), rows), 1e-4);
      if (stats.bias.defined()) {
        rows = rows + stats.bias.to(at::kDouble) * sums.bias_sums.at(0).to(at::kDouble);
        ++biased;
      }
      EXPECT_LT(relative_error(rows_of(by_saliency.at(site)), rows), 1e-4);
    }
    const at::Tensor columns = column_saliency_of(by_saliency.at(site).of(stats::saliency));
    if (columns.defined()) {
      EXPECT_LT(relative_error(columns, product.sum(0)), 1e-4);
    }
  }
  EXPECT_EQ(biased, 2 * 3);  // q, k, v of two layers
}

// Per-sample squares against one backward pass per sample.
TEST(GradientCollector, SquaresAreTheMeanOverSamplesOfTheirOwnSquaredGradients) {
  for (const bool tied : {false, true}) {
    const Model model = tiny_model({.kv_heads = 2, .tied = tied});
    const at::Tensor ids = random_ids(model, 4, 9);
    using Gradients = std::map<std::pair<int, Role>, at::Tensor>;
    const auto run = [&](const Statistic& needed, const std::vector<TokenBatch>& batches,
                         at::Tensor (*read)(const StatisticSums&)) {
      Gradients found;
      GradientCollector collector(
          {.statistics = {&needed}}, [](int, Role role) { return role != Role::EmbedTokens; },
          [&](const LinearSite& site, const WeightStats& stats) {
            found[{site.layer, site.role}] = read(stats.of(needed)).to(at::kDouble);
          });
      BlockStream(model, at::kCPU).backward(batches, {0, 2}, collector);
      return found;
    };
    const std::vector<TokenBatch> batches = {{ids.narrow(0, 0, 3)}, {ids.narrow(0, 3, 1)}};
    const Gradients squares = run(stats::squared_gradient, batches, squared_gradient_of);
    const Gradients both = run(stats::sample_gradients, batches, [](const StatisticSums& sums) {
      return sample_gradients_of(sums).squared;
    });
    std::vector<Gradients> each;
    for (int64_t j = 0; j < 4; ++j) {
      each.push_back(run(stats::gradient, {{ids.narrow(0, j, 1)}}, gradient_of));
    }
    for (const auto& [site, square] : squares) {
      at::Tensor expected = at::zeros_like(square);
      for (const Gradients& one : each) expected += one.at(site).square() / 4;
      EXPECT_LT(relative_error(square, expected), 1e-5);
      EXPECT_TRUE(at::equal(both.at(site), square));
    }
    EXPECT_EQ(squares.size(), tied ? 19u : 20u);
  }
}

TEST(BlockStream, GivesTheSameWithAStoreThatSpillsEverything) {
  const Model model = tiny_model({.kv_heads = 2, .layers = 4});
  const std::vector<TokenBatch> batches{{random_ids(model, 3, 9)}, {random_ids(model, 2, 9, 8)}};
  const auto run = [&](int64_t ram_bytes) {
    StreamStore store({.ram_bytes = ram_bytes});
    std::vector<at::Tensor> gradients;
    GradientCollector collector(
        Needs{.statistics = {&stats::gradient}}, [](int layer, Role) { return layer >= 1; },
        [&](const LinearSite&, const WeightStats& stats) {
          gradients.push_back(gradient_of(stats.of(stats::gradient)));
        });
    BlockStream(model, at::kCPU).backward(batches, {1, 3}, collector, store);
    EXPECT_EQ(store.spilled_bytes() > 0, ram_bytes == 0);
    return gradients;
  };
  const auto in_ram = run(int64_t{1} << 40);
  const auto on_disk = run(0);
  ASSERT_EQ(in_ram.size(), on_disk.size());
  for (size_t i = 0; i < in_ram.size(); ++i) EXPECT_TRUE(at::equal(in_ram[i], on_disk[i]));
}

TEST(BlockStream, SaysSoWhenTheLossIsNotFinite) {
  const Model whole = tiny_model({});
  const auto weights = copy_weights(whole);
  for (auto& [name, tensor] : weights->tensors) {
    if (name.find("down_proj") != std::string::npos) tensor.fill_(3e38f);
  }
  const Model model(whole.config(), weights);
  Recorder recorder;
  try {
    BlockStream(model, at::kCPU).backward({{random_ids(model, 2, 6)}}, {0, 2}, recorder);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Numeric);
  }
}

}  // namespace
}  // namespace prunus::test::stream_test
