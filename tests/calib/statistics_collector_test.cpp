// Every statistic of calib/stats against the same taken in FP64 from the inputs themselves.
#include "prunus/calib/statistics_collector.h"

#include <cmath>
#include <map>
#include <numbers>
#include <set>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::statistics_collector_test {
namespace {

// Keeps every input, and what enters and leaves each layer.
class Recorder : public Collector {
 public:
  void on_forward(const LinearSite& site, const at::Tensor& input, const at::Tensor&) override {
    inputs[{site.layer, site.role}].push_back(input.flatten(0, 1).to(at::kDouble).clone());
  }
  void on_block(int layer, const at::Tensor& before, const at::Tensor& after, bool) override {
    blocks[layer].push_back({before.flatten(0, 1).to(at::kDouble).clone(),
                             after.flatten(0, 1).to(at::kDouble).clone()});
  }
  at::Tensor all(int layer, Role role) const { return at::cat(inputs.at({layer, role})); }

  std::map<std::pair<int, Role>, std::vector<at::Tensor>> inputs;
  std::map<int, std::vector<std::pair<at::Tensor, at::Tensor>>> blocks;
};

// Those that StatisticsCollector gathers.
std::vector<const Statistic*> collected() {
  std::vector<const Statistic*> all;
  for (const Statistic* one : stats::all()) {
    if (one->of == StatisticOf::Input || one->of == StatisticOf::Block) all.push_back(one);
  }
  return all;
}

std::vector<TokenBatch> batches_of(const Model& model, int64_t count) {
  std::vector<TokenBatch> batches;
  for (int64_t i = 0; i < count; ++i) {
    batches.push_back({random_ids(model, 2, 7, static_cast<uint64_t>(i) + 3)});
  }
  return batches;
}

void run(const Model& model, const std::vector<TokenBatch>& batches, Collector& collector) {
  const BlockStream stream(model, at::kCPU);
  auto hidden = stream.embed(batches);
  stream.forward(hidden, &collector);
}

std::vector<LayerStatistics> gather(const Model& model, const std::vector<TokenBatch>& batches) {
  std::vector<LayerStatistics> layers;
  StatisticsCollector collector([](int, Role) { return collected(); },
                                [&](int layer, const LayerStatistics& one) {
                                  EXPECT_EQ(layer, static_cast<int>(layers.size()));
                                  layers.push_back(one);
                                });
  run(model, batches, collector);
  return layers;
}

at::Tensor plain_norm(const at::Tensor& x) { return x.square().sum(0).sqrt(); }
at::Tensor plain_hessian(const at::Tensor& x) {
  return at::mm(x.t(), x) * (2.0 / static_cast<double>(x.size(0)));
}

class Statistics : public testing::Test {
 protected:
  const Model model_ = tiny_model({.kv_heads = 2});
  const std::vector<TokenBatch> batches_ = batches_of(model_, 3);
};

TEST_F(Statistics, EqualThoseOfTheInputsInFp64) {
  Recorder recorder;
  run(model_, batches_, recorder);
  const auto layers = gather(model_, batches_);
  ASSERT_EQ(layers.size(), 2U);
  for (int layer = 0; layer < 2; ++layer) {
    for (const Role role : {Role::QProj, Role::KProj, Role::VProj, Role::OProj, Role::GateProj,
                            Role::UpProj, Role::DownProj}) {
      const at::Tensor x = recorder.all(layer, role);
      const LayerStatistics& got = layers[static_cast<size_t>(layer)];
      const StatisticSums& moments = got.of(stats::input_moments, role);
      EXPECT_EQ(moments.tokens, 42);
      EXPECT_LT(relative_error(input_norm_of(got.of(stats::input_norm, role)), plain_norm(x)),
                1e-7);
      EXPECT_LT(relative_error(input_mean_of(moments), x.mean(0)), 1e-12);
      EXPECT_LT(relative_error(input_variance_of(moments), x.var(0, false)), 1e-12);
      EXPECT_LT(relative_error(hessian_of(got.of(stats::hessian, role)), plain_hessian(x)), 1e-6);
    }
  }
}

TEST_F(Statistics, OfABlockCompareWhatEntersAndWhatLeaves) {
  Recorder recorder;
  run(model_, batches_, recorder);
  const auto layers = gather(model_, batches_);
  for (int layer = 0; layer < 2; ++layer) {
    double cosine = 0, angle = 0;
    int64_t tokens = 0;
    for (const auto& [before, after] : recorder.blocks.at(layer)) {
      for (int64_t t = 0; t < before.size(0); ++t, ++tokens) {
        const double one =
            (before[t].dot(after[t]) / (before[t].norm() * after[t].norm())).item<double>();
        cosine += one;
        angle += std::acos(one) / std::numbers::pi;
      }
    }
    const StatisticSums& got =
        layers[static_cast<size_t>(layer)].of(stats::block_similarity, Role::QProj);
    EXPECT_NEAR(block_cosine_of(got), cosine / static_cast<double>(tokens), 1e-12);
    EXPECT_NEAR(block_angle_of(got), angle / static_cast<double>(tokens), 1e-9);
    EXPECT_EQ(got.tokens, tokens);
  }
}

TEST_F(Statistics, AreSharedByProductsThatReadTheSameInput) {
  const LayerStatistics layer = gather(model_, batches_)[1];
  const auto* attention = &layer.of(stats::hessian, Role::QProj);
  EXPECT_EQ(attention, &layer.of(stats::hessian, Role::KProj));
  EXPECT_EQ(attention, &layer.of(stats::hessian, Role::VProj));
  const auto* inner = &layer.of(stats::hessian, Role::GateProj);
  EXPECT_EQ(inner, &layer.of(stats::hessian, Role::UpProj));
  const std::set<const StatisticSums*> all = {attention, inner,
                                              &layer.of(stats::hessian, Role::OProj),
                                              &layer.of(stats::hessian, Role::DownProj)};
  EXPECT_EQ(all.size(), 4U);
}

TEST_F(Statistics, TakeTheBytesThatTheySay) {
  const LayerStatistics layer = gather(model_, batches_)[0];
  int64_t bytes = 0;
  for (const Statistic* one : collected()) {
    if (one->of == StatisticOf::Block) {
      EXPECT_EQ(layer.of(*one, Role::QProj).bytes(), one->bytes(16));
      bytes += one->bytes(16);
      continue;
    }
    for (const auto& [role, channels] : {std::pair(Role::QProj, 16),
                                         {Role::OProj, 16},
                                         {Role::GateProj, 16},
                                         {Role::DownProj, 12}}) {
      EXPECT_EQ(layer.of(*one, role).bytes(), one->bytes(channels)) << one->name;
      bytes += one->bytes(channels);
    }
  }
  EXPECT_EQ(layer.bytes(), bytes);
}

// As two processes with half of the batches each.
TEST_F(Statistics, OfHalvesMergeToThoseOfAll) {
  const auto all = gather(model_, batches_);
  const auto first = gather(model_, {batches_[0]});
  const auto rest = gather(model_, {batches_[1], batches_[2]});
  for (const Statistic* one : collected()) {
    StatisticSums merged;
    merged.merge(first[1].of(*one, Role::DownProj));
    merged.merge(StatisticSums());
    merged.merge(rest[1].of(*one, Role::DownProj));
    const StatisticSums& whole = all[1].of(*one, Role::DownProj);
    EXPECT_EQ(merged.tokens, whole.tokens);
    for (size_t i = 0; i < whole.sums.size(); ++i) {
      EXPECT_LT(relative_error(merged.sums[i], whole.sums[i]), 1e-6) << one->name;
    }
  }
  // What was merged from is as it was.
  EXPECT_EQ(first[1].of(stats::hessian, Role::DownProj).tokens, 14);
}

TEST_F(Statistics, AreGatheredOnlyWhereTheyAreWanted) {
  int layers = 0;
  StatisticsCollector collector(
      [](int layer, Role role) -> std::vector<const Statistic*> {
        if (layer == 1 && role == Role::DownProj) return {&stats::input_norm};
        return {};
      },
      [&](int layer, const LayerStatistics& one) {
        ++layers;
        EXPECT_EQ(one.bytes(), layer == 1 ? stats::input_norm.bytes(12) : 0);
        expect_error(ErrorKind::InvalidArgument, "hessian was not gathered",
                     [&] { one.of(stats::hessian, Role::DownProj); });
        expect_error(ErrorKind::InvalidArgument, "no such product",
                     [&] { one.of(stats::hessian, Role::Router); });
      });
  run(model_, batches_, collector);
  EXPECT_EQ(layers, 2);
}

TEST(StatisticSums, MergeThoseOfABiasAndLeaveWhatIsUndefined) {
  StatisticSums merged;
  for (const double x : {1.0, 2.0}) {
    merged.merge({{at::tensor({x, 0.0}), at::Tensor()}, 3, {at::tensor({10 * x})}});
  }
  EXPECT_EQ(merged.tokens, 6);
  EXPECT_TRUE(at::equal(merged.sums[0], at::tensor({3.0, 0.0})));
  EXPECT_FALSE(merged.sums[1].defined());
  EXPECT_TRUE(at::equal(merged.bias_sums[0], at::tensor({30.0})));
  EXPECT_EQ(merged.bytes(), static_cast<int64_t>(3 * merged.sums[0].itemsize()));
}

TEST(StatisticCatalogue, HasNamesSourcesAndTheFunctionsOfTheirKind) {
  std::set<std::string_view> names;
  for (const Statistic* one : stats::all()) {
    EXPECT_TRUE(names.insert(one->name).second);
    EXPECT_FALSE(one->source.empty()) << one->name;
    const bool of_weight = one->of == StatisticOf::Weight;
    EXPECT_EQ(one->add == nullptr, of_weight) << one->name;
    EXPECT_EQ(one->bytes == nullptr, of_weight) << one->name;
    EXPECT_EQ(one->add_product != nullptr, of_weight) << one->name;
    EXPECT_EQ(one->add_gain != nullptr, of_weight) << one->name;
    EXPECT_EQ(one->pass == Pass::Backward, of_weight) << one->name;
  }
  EXPECT_EQ(names.size(), 11U);
}

}  // namespace
}  // namespace prunus::test::statistics_collector_test
