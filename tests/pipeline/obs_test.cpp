// The criterion obs against the damage itself: what refitting without the unit costs more.
#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/pipeline/method.h"
#include "prunus/pipeline/score.h"

#include "support/tiny_model.h"

namespace prunus::test::obs_test {
namespace {

// min over W' without some columns of Σ‖(W − W')·x‖² + λ·Σ_j diag(G)_j·‖W_j − W'_j‖², where the
// columns that go pay too: tr((W − W')·(G + Λ)·(W − W')ᵀ).
double damage(const at::Tensor& weight, const at::Tensor& held, const at::Tensor& gone) {
  std::vector<int64_t> left;
  for (int64_t i = 0; i < held.size(0); ++i) {
    if (!(gone == i).any().item<bool>()) left.push_back(i);
  }
  const at::Tensor kept = at::tensor(left, at::kLong);
  const at::Tensor inner = held.index_select(0, kept).index_select(1, kept);
  const at::Tensor cross = at::matmul(weight, held).index_select(1, kept);
  const at::Tensor best = std::get<0>(at::linalg_lstsq(inner, cross.t())).t();
  const at::Tensor difference = weight.index_copy(1, kept, weight.index_select(1, kept) - best);
  return (at::matmul(difference, held) * difference).sum().item<double>();
}

TEST(Obs, IsTheDamageThatIsLeft) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({50, 12}, at::kDouble);
  const at::Tensor gram = at::matmul(x.t(), x);
  LayerStatistics known;
  StatisticsCollector collector(
      [](int, Role) { return std::vector<const Statistic*>{&stats::hessian}; },
      [&](int, const LayerStatistics& layer) { known = layer; });
  const at::Tensor weight = at::randn({5, 12}, at::kDouble);
  LinearSite site;
  site.layer = 0;
  site.role = Role::OProj;
  site.weight = weight;
  site.last_batch = true;
  const at::Tensor input = x.unsqueeze(0);
  collector.on_forward(site, input, at::matmul(input, weight.t()));
  collector.on_block(0, input, input, true);
  WeightStats stats;
  stats.weight = weight;
  stats.role = Role::OProj;
  stats.layer = &known;
  const at::Tensor mean = gram / 50;  // half of the Hessian
  const at::Tensor held = mean + at::diag(mean.diagonal() * 0.1 + 1e-7 * mean.diagonal().mean());
  for (const int64_t width : {1, 3}) {
    const at::Tensor columns = at::arange(12, at::kLong).view({12 / width, width});
    const at::Tensor scores = find_criterion("obs").unit({stats, columns});
    for (int64_t u = 0; u < columns.size(0); ++u) {
      const double wanted = damage(weight, held, columns[u]);
      EXPECT_NEAR(scores[u].item<double>(), wanted, 1e-6 * wanted) << width << " " << u;
    }
  }
}

// A channel that nothing enters goes first; heads are scored as blocks of columns.
TEST(Obs, ScoresChannelsAndHeadsOfAModel) {
  const Model model = tiny_model({.kv_heads = 2});
  auto source = copy_weights(model);
  source->tensors[model.tensor(Role::UpProj, 1).name].select(0, 7).zero_();
  const Model quiet(model.config(), source);
  std::vector<GroupSet> sets = find_groups(quiet);
  std::erase_if(sets, [](const GroupSet& set) {
    return set.label != AxisLabel::Ffn && set.label != AxisLabel::KvGroup &&
           set.label != AxisLabel::QueryHead;
  });
  const Scores scores =
      score_groups(quiet, sets, find_criterion("obs"), {{random_ids(quiet, 6, 10)}}, {0, 2},
                   {.members = Members::Consumers});
  for (const ScoredSet& one : scores.sets) {
    if (one.set.label != AxisLabel::Ffn || one.set.layer != 1) continue;
    EXPECT_EQ(one.keep_best(1).size(), 11U);
    EXPECT_LT(one.scores[7], 1e-6);
  }
}

}  // namespace
}  // namespace prunus::test::obs_test
