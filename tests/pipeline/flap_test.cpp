// FLAP's selection against the same written out in FP64, as its program does it: a fluctuation per
// column, standardised over each layer's columns, averaged over a head's, one ranking with heads
// counted by their weights.
#include <algorithm>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::flap_test {
namespace {

using Places = std::vector<std::tuple<double, double, size_t, int64_t>>;  // z, weights, entry, unit

// Standardised fluctuations of a matrix' columns.
std::vector<double> standardised(const at::Tensor& weight, const at::Tensor& x, bool squared) {
  std::vector<double> scores;
  const auto tokens = static_cast<double>(x.size(0));
  for (int64_t j = 0; j < weight.size(1); ++j) {
    double mean = 0, variance = 0, norm = 0;
    for (int64_t t = 0; t < x.size(0); ++t) mean += x[t][j].item<double>() / tokens;
    for (int64_t t = 0; t < x.size(0); ++t) {
      variance += std::pow(x[t][j].item<double>() - mean, 2) / tokens;
    }
    for (int64_t i = 0; i < weight.size(0); ++i) norm += std::pow(weight[i][j].item<double>(), 2);
    scores.push_back(squared ? std::pow(variance * norm, 2) : variance * norm);
  }
  double mean = 0, spread = 0;
  const auto count = static_cast<double>(scores.size());
  for (const double score : scores) mean += score / count;
  for (const double score : scores) spread += std::pow(score - mean, 2) / (count - 1);
  for (double& score : scores) score = (score - mean) / std::sqrt(spread);
  return scores;
}

TEST(Flap, RanksStandardisedFluctuationsOverAllLayers) {
  const Model model = tiny_model({.q_heads = 4, .layers = 3});
  const std::vector<TokenBatch> batches = {{random_ids(model, 2, 9, 1)},
                                           {random_ids(model, 2, 9, 2)}};
  const RecordedInputs seen(model, batches);
  const Plan plan = make_plan(model, batches, {.method = "flap", .ratio = 0.4}).plan;
  Places places;
  double wanted = 0;
  for (size_t e = 0; e < plan.entries.size(); ++e) {
    const PlanEntry& entry = plan.entries[e];
    const bool heads = entry.keep.label != AxisLabel::Ffn;
    const Role role = heads ? Role::OProj : Role::DownProj;
    const at::Tensor weight = model.source().read(model.tensor(role, entry.keep.layer));
    const auto z = standardised(weight, seen.input(entry.keep.layer, role), heads);
    const int64_t columns = weight.size(1) / entry.units;
    // q, k, v, o of a head; gate, up, down of a channel; all read or write the hidden channels.
    const double weights = static_cast<double>((heads ? 4 : 3) * columns * weight.size(0));
    for (int64_t unit = 0; unit < entry.units; ++unit) {
      double mean = 0;
      for (int64_t c = 0; c < columns; ++c) {
        mean += z[static_cast<size_t>(unit * columns + c)] / static_cast<double>(columns);
      }
      places.emplace_back(mean, weights, e, unit);
      wanted += 0.4 * weights;
    }
  }
  std::sort(places.begin(), places.end());
  std::map<size_t, std::vector<int64_t>> gone;
  for (const auto& [z, weights, entry, unit] : places) {
    if (wanted < weights / 2) break;
    if (static_cast<int64_t>(gone[entry].size()) + 1 >= plan.entries[entry].units) continue;
    gone[entry].push_back(unit);
    wanted -= weights;
  }
  size_t removed = 0;
  for (size_t e = 0; e < plan.entries.size(); ++e) {
    for (const int64_t unit : plan.entries[e].keep.units) {
      EXPECT_EQ(std::count(gone[e].begin(), gone[e].end(), unit), 0) << e << " " << unit;
    }
    EXPECT_EQ(static_cast<int64_t>(plan.entries[e].keep.units.size() + gone[e].size()),
              plan.entries[e].units);
    removed += gone[e].size();
  }
  EXPECT_GT(removed, 5u);
}

}  // namespace
}  // namespace prunus::test::flap_test
