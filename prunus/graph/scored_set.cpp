#include "prunus/graph/scored_set.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, Normalisation> kNames[] = {
    {"none", Normalisation::None},         {"mean", Normalisation::Mean},
    {"max", Normalisation::Max},           {"params", Normalisation::Params},
    {"standard", Normalisation::Standard},
};

// log(e^a + e^b) without leaving the range.
double log_add(double a, double b) {
  const auto [low, high] = std::minmax(a, b);
  return std::isinf(low) ? high : high + std::log1p(std::exp(low - high));
}

// What a set's scores are divided by (or, where they are logarithms, the logarithm of that).
double divisor(const ScoredSet& scored, Normalisation normalisation) {
  const auto& scores = scored.scores;
  const auto count = static_cast<double>(scores.size());
  switch (normalisation) {
    case Normalisation::None:
    case Normalisation::Standard:
      break;
    case Normalisation::Params: {
      const auto parameters = static_cast<double>(scored.set.parameters_per_unit());
      return scored.logarithmic ? std::log(parameters) : parameters;
    }
    case Normalisation::Max:
      return *std::max_element(scores.begin(), scores.end());
    case Normalisation::Mean: {
      if (!scored.logarithmic) return std::accumulate(scores.begin(), scores.end(), 0.0) / count;
      double sum = -std::numeric_limits<double>::infinity();
      for (const double score : scores) sum = log_add(sum, score);
      return sum - std::log(count);
    }
  }
  return scored.logarithmic ? 0.0 : 1.0;
}

// (score − mean) / deviation of each unit, ascending; 0 where all scores are the same.
std::vector<double> standardised(const ScoredSet& scored) {
  PRUNUS_CHECK(!scored.logarithmic, InvalidArgument,
               "--normalize standard compares sums, not products: no --reduction prod");
  PRUNUS_CHECK(scored.set.shares == 1, InvalidArgument, scored.set.name(),
               ": --normalize standard compares single units, but here one of each of ",
               scored.set.shares, " shares goes at a time; use mean or max");
  std::vector<double> levels = scored.scores;
  const auto count = static_cast<double>(levels.size());
  const double mean = std::accumulate(levels.begin(), levels.end(), 0.0) / count;
  double by = scored.deviation;
  if (by == 0) {
    for (const double level : levels) by += (level - mean) * (level - mean);
    by = std::sqrt(by / std::max(1.0, count - 1));
  }
  for (double& level : levels) level = by > 0 ? (level - mean) / by : 0.0;
  std::sort(levels.begin(), levels.end());
  return levels;
}

void check_finite(const ScoredSet& scored) {
  for (const double score : scored.scores) {
    PRUNUS_CHECK(std::isfinite(score), Numeric, scored.set.name(), ": a score is ", score,
                 "; the calibration gradients overflowed or the weights are damaged");
  }
}

}  // namespace

Normalisation parse_normalisation(std::string_view name) {
  return parse_named(kNames, name, "--normalize");
}

std::string_view normalisation_name(Normalisation normalisation) {
  return name_of(kNames, normalisation);
}

std::vector<double> ScoredSet::levels(Normalisation normalisation) const {
  check_finite(*this);
  if (normalisation == Normalisation::Standard) return standardised(*this);
  const auto per_share = static_cast<size_t>(set.units_per_share());
  const double by = divisor(*this, normalisation);
  std::vector<double> costs(per_share, logarithmic ? -std::numeric_limits<double>::infinity() : 0);
  for (size_t begin = 0; begin < scores.size(); begin += per_share) {
    std::vector<double> share(scores.begin() + static_cast<std::ptrdiff_t>(begin),
                              scores.begin() + static_cast<std::ptrdiff_t>(begin + per_share));
    std::sort(share.begin(), share.end());
    for (size_t i = 0; i < per_share; ++i) {
      costs[i] = logarithmic ? log_add(costs[i], share[i]) : costs[i] + share[i];
    }
  }
  for (double& cost : costs) {
    // A set without any importance is as good to cut with as without a divisor.
    cost = logarithmic ? cost - by : (by > 0 ? cost / by : cost);
  }
  return costs;
}

std::vector<int64_t> ScoredSet::keep_best(int64_t removed) const {
  check_finite(*this);
  std::vector<int64_t> kept;
  const int64_t per_share = set.units_per_share();
  for (int64_t begin = 0; begin < set.units; begin += per_share) {
    std::vector<int64_t> order(static_cast<size_t>(per_share));
    std::iota(order.begin(), order.end(), begin);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return scores[static_cast<size_t>(a)] < scores[static_cast<size_t>(b)];
    });
    kept.insert(kept.end(), order.begin() + removed, order.end());
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

}  // namespace prunus
