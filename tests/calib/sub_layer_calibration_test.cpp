// What calibration gathers in a model some of whose layers lack a sub-layer: at every site that is
// left the same as where the sub-layer is there and puts out zeros.
#include <map>
#include <set>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/gradient_collector.h"
#include "prunus/calib/statistics_collector.h"
#include "prunus/calib/stream.h"

#include "support/golden_models.h"
#include "support/sub_layers.h"

namespace prunus::test::sub_layer_calibration_test {
namespace {

using Gathered = std::map<std::pair<int, Role>, at::Tensor>;

constexpr int kLayer = 1;

std::vector<TokenBatch> some_batches(const Model& model) {
  return {{random_ids(model, 2, 7, 1)}, {random_ids(model, 1, 7, 2)}};
}

Gathered gradients(const Model& model) {
  Gathered gathered;
  GradientCollector collector(
      Needs{.statistics = {&stats::gradient}}, [](int, Role) { return true; },
      [&](const LinearSite& site, const WeightStats& stats) {
        gathered[{site.layer, site.role}] = gradient_of(stats.of(stats::gradient)).clone();
      });
  BlockStream(model, at::kCPU).backward(some_batches(model), {0, model.layer_count()}, collector);
  return gathered;
}

// Σ x² of the inputs of products that are no expert's.
Gathered input_squares(const Model& model) {
  class Squares : public Collector {
   public:
    Gathered sums;
    void on_forward(const LinearSite& site, const at::Tensor& x, const at::Tensor&) override {
      if (site.part.present()) return;
      at::Tensor& sum = sums[{site.layer, site.role}];
      const at::Tensor own = x.flatten(0, -2).to(at::kDouble).square().sum(0);
      sum = sum.defined() ? sum + own : own;
    }
  } squares;
  const BlockStream stream(model, at::kCPU);
  std::vector<at::Tensor> hidden = stream.embed(some_batches(model));
  stream.forward(hidden, &squares);
  return squares.sums;
}

class SubLayerCalibration : public testing::TestWithParam<std::string> {
 protected:
  void expect_same_elsewhere(const Gathered& got, const Gathered& meant, SubLayer part) const {
    size_t elsewhere = 0;
    for (const auto& [site, value] : meant) {
      if (site.first == kLayer && sub_layer_of(site.second) == part) continue;
      ++elsewhere;
      ASSERT_TRUE(got.contains(site)) << site.first << " " << static_cast<int>(site.second);
      EXPECT_LT(relative_error(got.at(site), value), 1e-4)
          << name_of(part) << ": " << site.first << " " << static_cast<int>(site.second);
    }
    EXPECT_EQ(got.size(), elsewhere);
  }

  const Model model_ = open_model(golden_dir(GetParam()));
};

TEST_P(SubLayerCalibration, GradientsElsewhereAreThoseOfASilentOne) {
  for (const SubLayer part : kSubLayers) {
    expect_same_elsewhere(gradients(without(model_, part, kLayer)),
                          gradients(silenced(model_, part, kLayer)), part);
  }
}

TEST_P(SubLayerCalibration, InputsElsewhereAreThoseOfASilentOne) {
  for (const SubLayer part : kSubLayers) {
    expect_same_elsewhere(input_squares(without(model_, part, kLayer)),
                          input_squares(silenced(model_, part, kLayer)), part);
  }
}

std::vector<std::string> with_norms_in_front() {
  std::vector<std::string> names = golden_names();
  std::erase_if(names, [](const std::string& name) {
    return !open_model(golden_dir(name)).config().pre_norm;
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Families, SubLayerCalibration, testing::ValuesIn(with_norms_in_front()),
                         [](const auto& one) { return one.param; });

TEST(SubLayerWalk, ShowsNoStageOfWhatALayerLacks) {
  class Stages : public LayerVisitor {
   public:
    std::vector<std::pair<int, Stage>> seen;
    Edits edits(int) const override { return Edits::ByStage; }
    void visit(int layer, Stage stage, BlockWeights&) override { seen.emplace_back(layer, stage); }
  } visitor;
  const Model whole = tiny_model({.layers = 3});
  const Model model = without(without(whole, SubLayer::Attention, 0), SubLayer::FeedForward, 2);
  const Model zeroed = silenced(silenced(whole, SubLayer::Attention, 0), SubLayer::FeedForward, 2);
  const BlockStream stream(model, at::kCPU);
  std::vector<at::Tensor> hidden = stream.embed(some_batches(model));
  stream.walk(hidden, {0, 3}, visitor);
  const std::vector<std::pair<int, Stage>> meant = {
      {0, Stage::GateUp}, {0, Stage::Down}, {1, Stage::QueryKeyValue}, {1, Stage::Output},
      {1, Stage::GateUp}, {1, Stage::Down}, {2, Stage::QueryKeyValue}, {2, Stage::Output}};
  EXPECT_EQ(visitor.seen, meant);
  std::vector<at::Tensor> silent = stream.embed(some_batches(model));
  BlockStream(zeroed, at::kCPU).forward(silent);
  for (size_t i = 0; i < hidden.size(); ++i) EXPECT_LT(relative_error(hidden[i], silent[i]), 1e-6);
}

// A layer without either part gives back what it got: its block is known although it has no
// product.
TEST(SubLayerWalk, KnowsTheBlockOfALayerWithoutProducts) {
  const Model whole = tiny_model({.layers = 3});
  const Model model = without(without(whole, SubLayer::Attention, 1), SubLayer::FeedForward, 1);
  std::map<int, LayerStatistics> gathered;
  StatisticsCollector collector(
      [](int, Role) { return std::vector<const Statistic*>{&stats::block_similarity}; },
      [&](int layer, const LayerStatistics& one) { gathered[layer] = one; });
  const BlockStream stream(model, at::kCPU);
  std::vector<at::Tensor> hidden = stream.embed(some_batches(model));
  stream.forward(hidden, &collector);
  ASSERT_EQ(gathered.size(), 3U);
  EXPECT_EQ(gathered.at(1).of_block(stats::block_similarity).tokens, 21);
}

}  // namespace
}  // namespace prunus::test::sub_layer_calibration_test
