// Calibration of mixtures, whose tokens are dispatched to their experts, against the wide form that
// runs all experts on all tokens (support/wide_mixture.h). In FP64, on every mixture of
// tests/model/golden.
#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/calib/gradient_collector.h"
#include "prunus/calib/statistics_collector.h"
#include "prunus/calib/stream.h"
#include "prunus/model/decoder.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"
#include "support/wide_mixture.h"

namespace prunus::test::mixture_calibration_test {
namespace {

constexpr double kRounding = 1e-11;

using Place = std::pair<int, Role>;

// Writes down every site of a mixture's experts.
class Recorder : public Collector {
 public:
  bool wants(int layer, Role) const override { return layer >= 0; }
  void on_forward(const LinearSite& site, const at::Tensor& input, const at::Tensor&) override {
    if (site.part.present()) forward.push_back({site, input});
  }
  void on_backward(const BackwardProduct& product) override {
    if (product.site.part.present()) backward.push_back({product.site, product.input});
  }
  struct Seen {
    LinearSite site;
    at::Tensor input;
  };
  std::vector<Seen> forward, backward;
};

class MixtureCalibration : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { model_.set_precision(at::kDouble); }

  int64_t experts(int layer) const {
    return model_.config().layers.at(static_cast<size_t>(layer)).experts;
  }

  std::map<Place, WeightStats> collect(const Statistic& needed,
                                       const std::vector<TokenBatch>& batches) const {
    std::map<Place, WeightStats> found;
    GradientCollector collector(
        {.statistics = {&needed}}, [](int layer, Role) { return layer >= 0; },
        [&](const LinearSite& site, const WeightStats& one) {
          EXPECT_FALSE(site.part.present());
          EXPECT_TRUE(found.emplace(Place{site.layer, site.role}, one).second)
              << "handed over twice: layer " << site.layer;
        });
    BlockStream(model_, at::kCPU).backward(batches, {0, model_.layer_count()}, collector);
    return found;
  }

  // What enters each product of a layer in the wide form, and which experts each token chose, bool
  // [tokens, experts].
  struct WideLayer {
    std::map<Role, at::Tensor> inputs;
    at::Tensor chosen;
  };
  WideLayer wide_layer(int layer, const at::Tensor& ids) const {
    const at::NoGradGuard no_grad;
    const Decoder decoder(model_.config());
    at::Tensor hidden = embed(model_, ids, at::kCPU);
    WideHook wide;
    for (int one = 0; one <= layer; ++one) {
      hidden = decoder.block(one, model_.load_block(one, at::kCPU), hidden, &wide);
    }
    const at::Tensor router = model_.load_block(layer, at::kCPU)[Role::Router];
    const at::Tensor logits = at::linear(wide.inputs.at(Role::Router), router).flatten(0, 1);
    const int64_t rank = logits.size(1) - model_.config().experts_per_token;
    const at::Tensor least = std::get<0>(logits.sort(1)).narrow(1, rank, 1);
    return {wide.inputs, logits >= least};
  }

  Model model_ = open_model(golden_dir(GetParam()));
  const at::Tensor ids_ = random_ids(model_, 3, 10);
  const std::vector<TokenBatch> batches_ = {{ids_.narrow(0, 0, 2)}, {ids_.narrow(0, 2, 1)}};
};

TEST_P(MixtureCalibration, GradientsAndSquaresAreThoseOfTheWideForm) {
  const auto wide = wide_gradients(model_, ids_);
  std::map<Place, at::Tensor> squares;
  for (int64_t sample = 0; sample < 3; ++sample) {
    for (const auto& [place, gradient] : wide_gradients(model_, ids_.narrow(0, sample, 1))) {
      at::Tensor& total = squares[place];
      const at::Tensor square = gradient.square() / 3;
      total = total.defined() ? total + square : square;
    }
  }
  const auto both = collect(stats::sample_gradients, batches_);
  const auto gradients = collect(stats::gradient, batches_);
  for (const auto& [place, gradient] : wide) {
    const std::string where = c10::str("layer ", place.first, " role ", int(place.second));
    const auto [sum, squared] = sample_gradients_of(both.at(place).of(stats::sample_gradients));
    const at::Tensor alone = gradient_of(gradients.at(place).of(stats::gradient));
    EXPECT_EQ(both.at(place).weight.sizes(), gradient.sizes()) << where;
    EXPECT_LT(relative_error(sum, gradient), kRounding) << where;
    EXPECT_LT(relative_error(alone, gradient), kRounding) << where;
    EXPECT_LT(relative_error(squared, squares.at(place)), kRounding) << where;
  }
}

TEST_P(MixtureCalibration, SaliencyIsThatOfTheWideForm) {
  const auto wide = wide_gradients(model_, ids_);
  const auto found = collect(stats::saliency, batches_);
  for (const auto& [place, gradient] : wide) {
    const StatisticSums& sums = found.at(place).of(stats::saliency);
    // What was handed over has its memory in another layer by now.
    const at::Tensor weight = model_.load_block(place.first, at::kCPU)[place.second];
    const at::Tensor product = weight * gradient;
    EXPECT_LT(relative_error(column_saliency_of(sums), product.sum(0)), kRounding);
    if (place.second >= Role::GateProj) {  // others have biases
      EXPECT_LT(relative_error(row_saliency_of(sums, weight), product.sum(1)), kRounding);
    }
  }
}

TEST_P(MixtureCalibration, AnExpertThatNoTokenChoseHasGradientsOfZero) {
  // One token over and over: most of the experts are never asked.
  const at::Tensor same = at::full({2, 4}, 7, at::kLong);
  const auto wide = wide_gradients(model_, same);
  for (const Statistic* needed : {&stats::sample_gradients, &stats::gradient}) {
    const auto found = collect(*needed, {{same.narrow(0, 0, 1)}, {same.narrow(0, 1, 1)}});
    int64_t idle = 0;
    for (const auto& [place, gradient] : wide) {
      // Of queries and keys they are rounding alone: attention to the same everywhere.
      if (place.second < Role::GateProj || experts(place.first) == 0) continue;
      const StatisticSums& sums = found.at(place).of(*needed);
      const bool by_sample = needed == &stats::sample_gradients;
      const at::Tensor got = by_sample ? sample_gradients_of(sums).gradient : gradient_of(sums);
      EXPECT_LT(relative_error(got, gradient), kRounding);
      if (place.second != Role::UpProj) continue;
      const at::Tensor zero = (got == 0).all(1);
      EXPECT_TRUE(at::equal(zero, (gradient == 0).all(1)));
      idle += zero.sum().item<int64_t>();
    }
    EXPECT_GT(idle, 0);
  }
}

TEST_P(MixtureCalibration, EveryExpertSeesItsOwnTokensOnce) {
  Recorder recorder;
  const BlockStream stream(model_, at::kCPU);
  const at::Tensor ids = at::cat({ids_, at::full({1, 10}, 7, at::kLong)});
  auto hidden = stream.embed({{ids}});
  stream.forward(hidden, &recorder);
  std::map<Place, int> next;
  for (const auto& [site, input] : recorder.forward) {
    EXPECT_EQ(site.part.expert, (next[{site.layer, site.role}])++);
    EXPECT_EQ(site.part.experts, experts(site.layer));
    EXPECT_EQ(site.samples, 4);
    const at::Tensor chosen = wide_layer(site.layer, ids).chosen.select(1, site.part.expert);
    const at::Tensor by_row = chosen.view({4, 10}).sum(1);
    EXPECT_TRUE(at::equal(at::tensor(site.part.row_tokens, at::kLong), by_row));
    EXPECT_EQ(input.size(0), by_row.sum().item<int64_t>());
    EXPECT_TRUE(at::equal(site.weight, site.part.part_of(site.part.joined, site.part.dim)));
  }
  int64_t mixtures = 0;
  for (const auto& [place, seen] : next) {
    EXPECT_EQ(seen, experts(place.first));
    ++mixtures;
  }
  EXPECT_EQ(mixtures % 3, 0);  // gate, up and down of each
  EXPECT_GT(mixtures, 0);
}

// So that no more than one weight's gradients are in memory.
TEST_P(MixtureCalibration, BackwardIsDoneWithOneWeightBeforeTheNext) {
  Recorder recorder;
  BlockStream(model_, at::kCPU).backward({{ids_}}, {0, model_.layer_count()}, recorder);
  std::vector<Place> order;
  std::map<Place, int> times;
  for (const auto& [site, input] : recorder.backward) {
    const Place place{site.layer, site.role};
    if (order.empty() || order.back() != place) order.push_back(place);
    ++times[place];
  }
  EXPECT_EQ(order.size(), times.size()) << "a weight came, went, and came again";
  for (const auto& [place, count] : times) EXPECT_EQ(count, experts(place.first));
}

TEST_P(MixtureCalibration, StatisticsOfAnExpertAreThoseOfTheTokensThatChoseIt) {
  std::map<int, LayerStatistics> layers;
  StatisticsCollector collector(
      [](int, Role) -> std::vector<const Statistic*> {
        return {&stats::input_norm, &stats::hessian};
      },
      [&](int layer, const LayerStatistics& one) { layers[layer] = one; });
  const BlockStream stream(model_, at::kCPU);
  auto hidden = stream.embed(batches_);
  stream.forward(hidden, &collector);
  for (int layer = 0; layer < model_.layer_count(); ++layer) {
    const LayerStatistics& got = layers.at(layer);
    const WideLayer wide = experts(layer) > 0 ? wide_layer(layer, ids_) : WideLayer();
    for (int expert = 0; expert < experts(layer); ++expert) {
      const at::Tensor rows = wide.chosen.select(1, expert).nonzero().squeeze(1);
      ASSERT_GT(rows.size(0), 0);
      for (const Role role : {Role::GateProj, Role::UpProj, Role::DownProj}) {
        at::Tensor x = wide.inputs.at(role).flatten(0, 1).index_select(0, rows);
        if (role == Role::DownProj) x = x.unflatten(1, {experts(layer), -1}).select(1, expert);
        const StatisticSums& norm = got.of(stats::input_norm, role, expert);
        const at::Tensor hessian = hessian_of(got.of(stats::hessian, role, expert));
        EXPECT_EQ(norm.tokens, rows.size(0));
        EXPECT_LT(relative_error(input_norm_of(norm), x.square().sum(0).sqrt()), kRounding);
        const double scale = 2.0 / static_cast<double>(rows.size(0));
        EXPECT_LT(relative_error(hessian, at::mm(x.t(), x) * scale), kRounding);
      }
      EXPECT_EQ(got.input_of(Role::GateProj, expert), got.input_of(Role::UpProj, expert));
      EXPECT_NE(got.input_of(Role::GateProj, expert), got.input_of(Role::GateProj, expert ^ 1));
    }
    if (experts(layer) == 0) continue;
    expect_error(ErrorKind::InvalidArgument, "asked for one by one",
                 [&] { got.of(stats::hessian, Role::GateProj); });
    expect_error(ErrorKind::InvalidArgument, "of expert 99",
                 [&] { got.of(stats::hessian, Role::GateProj, 99); });
  }
}

TEST_P(MixtureCalibration, OutputsOfExpertsAreThoseOfTheWideForm) {
  std::map<int, std::vector<StatisticSums>> outputs;
  StatisticsCollector collector(
      [](int, Role) -> std::vector<const Statistic*> { return {&stats::expert_output}; },
      [&](int layer, const LayerStatistics& one) {
        outputs[layer] = one.of_experts(stats::expert_output);
      });
  const BlockStream stream(model_, at::kCPU);
  auto hidden = stream.embed(batches_);
  stream.forward(hidden, &collector);
  int64_t mixtures = 0;
  for (const auto& [layer, got] : outputs) {
    ASSERT_EQ(std::ssize(got), experts(layer));
    if (got.empty()) continue;
    ++mixtures;
    const WideLayer wide = wide_layer(layer, ids_);
    const at::Tensor down = model_.load_block(layer, at::kCPU)[Role::DownProj];
    const at::Tensor inner = wide.inputs.at(Role::DownProj).flatten(0, 1);
    const int64_t width = inner.size(1) / experts(layer);
    at::Tensor norms = at::zeros({experts(layer)}, at::kDouble);
    for (int64_t e = 0; e < experts(layer); ++e) {
      const at::Tensor own = at::linear(inner.narrow(1, e * width, width),  // 0 where not chosen
                                        down.narrow(1, e * width, width));
      norms[e] = at::linalg_vector_norm(own, 2, {1}).sum();
    }
    const at::Tensor tokens = wide.chosen.sum(0);
    for (int64_t e = 0; e < experts(layer); ++e) {
      EXPECT_EQ(got[static_cast<size_t>(e)].tokens, tokens[e].item<int64_t>());
    }
    EXPECT_LT(relative_error(mean_expert_output_of(got), norms / tokens), kRounding) << layer;
  }
  EXPECT_GT(mixtures, 0);
}

INSTANTIATE_TEST_SUITE_P(Mixtures, MixtureCalibration, testing::ValuesIn(golden_mixtures()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::mixture_calibration_test
