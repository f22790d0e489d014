// Which columns of a matrix go together with the least damage, when what is left makes up for them
// as well as it can: removal in rounds, then exchanges.
#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "prunus/calib/ridge.h"
#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

constexpr double kHeld = 0.1;        // λ of the solver
constexpr double kLeastGain = 1e-9;  // of an exchange, as a share of the outputs' squares
constexpr int64_t kRounds = 16;      // in which the first choice is made
constexpr int64_t kMostExchanges = 64;
constexpr int64_t kTries = 8;  // units that may come back, when they come back one by one

// The problem min tr((W − W')·A·(W − W')ᵀ) over the columns S of W', as the principal pivot
// transform of A with respect to S, with W·A carried along: then the square holds A_SS⁻¹ and, of
// what is out, the Schur complement; the right side holds W'_S and what is left of W·A. Moving
// units in or out is one step, the same for both.
class Pivots {
 public:
  Pivots(const at::Tensor& weight, const at::Tensor& inverse, const at::Tensor& columns)
      : square_(inverse.clone()),
        right_(weight.clone()),
        columns_(columns),
        kept_(static_cast<size_t>(columns.size(0)), true) {}

  Pivots copy() const {
    Pivots other = *this;
    other.square_ = square_.clone();
    other.right_ = right_.clone();
    return other;
  }

  bool kept(int64_t unit) const { return kept_[static_cast<size_t>(unit)]; }

  // By how much the minimum would change if the units changed sides together.
  double stake(const std::vector<int64_t>& units) const {
    const at::Tensor at = columns_.index_select(0, at::tensor(units, at::kLong)).flatten();
    const at::Tensor block = square_.index_select(0, at).index_select(1, at);
    const at::Tensor part = right_.index_select(1, at);
    const at::Tensor solved = at::cholesky_solve(part.t(), at::linalg_cholesky(block));
    return (solved.t() * part).sum().item<double>();
  }

  // The same of each unit alone, FP64 [units].
  at::Tensor stakes() const {
    if (columns_.size(1) == 1) {
      const at::Tensor at = columns_.flatten();
      return right_.square().sum(0).index_select(0, at) / square_.diagonal().index_select(0, at);
    }
    at::Tensor all = at::empty({columns_.size(0)}, at::kDouble);
    for (int64_t unit = 0; unit < columns_.size(0); ++unit) all[unit] = stake({unit});
    return all;
  }

  void move(const std::vector<int64_t>& units) {
    const at::Tensor at = columns_.index_select(0, at::tensor(units, at::kLong)).flatten();
    const at::Tensor inverse =
        at::cholesky_inverse(at::linalg_cholesky(square_.index_select(0, at).index_select(1, at)));
    const at::Tensor rows = square_.index_select(0, at);
    const at::Tensor across = at::mm(square_.index_select(1, at), inverse);
    const at::Tensor right = at::mm(right_.index_select(1, at), inverse);
    square_.sub_(at::mm(across, rows));
    right_.sub_(at::mm(right, rows));
    square_.index_copy_(1, at, across);
    square_.index_copy_(0, at, at::mm(inverse, rows).neg_());
    square_.index_put_({at.unsqueeze(1), at.unsqueeze(0)}, inverse);
    right_.index_copy_(1, at, right);
    for (const int64_t unit : units) {
      kept_[static_cast<size_t>(unit)] = !kept_[static_cast<size_t>(unit)];
    }
  }

  // The `count` units with the lowest stakes (or the highest) of those that are kept (or not).
  std::vector<int64_t> extreme(bool of_kept, bool highest, int64_t count) const {
    const at::Tensor all = stakes();
    std::vector<int64_t> units;
    for (int64_t unit = 0; unit < columns_.size(0); ++unit) {
      if (kept(unit) == of_kept) units.push_back(unit);
    }
    const double* values = all.const_data_ptr<double>();
    std::stable_sort(units.begin(), units.end(), [&](int64_t a, int64_t b) {
      return highest ? values[a] > values[b] : values[a] < values[b];
    });
    units.resize(std::min(units.size(), static_cast<size_t>(count)));
    return units;
  }

 private:
  at::Tensor square_;  // [inputs, inputs]
  at::Tensor right_;   // [outputs, inputs]
  at::Tensor columns_;
  std::vector<bool> kept_;
};

void choose_first(Pivots& pivots, int64_t removed) {
  const int64_t at_once = std::max<int64_t>(1, removed / kRounds);
  for (int64_t gone = 0; gone < removed;) {
    const int64_t count = std::min(at_once, removed - gone);
    pivots.move(pivots.extreme(true, false, count));
    gone += count;
  }
}

// Lets units come back and as many others go, if the minimum falls by it.
bool exchange(Pivots& pivots, const std::vector<int64_t>& back, double least) {
  const Pivots before = pivots.copy();
  const double gain = pivots.stake(back);
  pivots.move(back);
  const auto gone = pivots.extreme(true, false, static_cast<int64_t>(back.size()));
  if (gain - pivots.stake(gone) > least) {
    pivots.move(gone);
    return true;
  }
  pivots = before;
  return false;
}

void improve(Pivots& pivots, int64_t removed, double least) {
  int64_t at_once = std::max<int64_t>(1, removed / kRounds);
  for (int64_t done = 0; done < kMostExchanges;) {
    if (exchange(pivots, pivots.extreme(false, true, at_once), least)) {
      ++done;
    } else if (at_once > 1) {
      at_once /= 2;
    } else {
      const std::vector<int64_t> others = pivots.extreme(false, true, kTries);
      const bool any = std::any_of(others.begin(), others.end(),
                                   [&](int64_t unit) { return exchange(pivots, {unit}, least); });
      if (!any) return;
      ++done;
    }
  }
}

// Half the rise of the minimum without each unit that stays; of those that go, what it would fall
// by if one came back, below 0.
at::Tensor unit(const UnitRequest& request) {
  const WeightStats& stats = request.stats;
  const int64_t units = request.columns.size(0);
  const StatisticSums& sums = stats.of_input(stats::hessian);
  if (sums.tokens == 0) return at::zeros({units}, at::kDouble);
  const at::Tensor weight = stats.weight.to(at::kCPU, at::kDouble);
  const at::Tensor hessian = hessian_of(sums).to(at::kCPU, at::kDouble);
  const RidgedFactor ridged = ridged_factor(hessian, kHeld, false, "criterion osscar");
  if (!ridged.factor.defined()) return at::zeros({units}, at::kDouble);
  Pivots pivots(weight, at::cholesky_inverse(ridged.factor), request.columns);
  choose_first(pivots, request.removed);
  const double whole = (at::mm(weight, ridged.factor)).square().sum().item<double>();
  if (request.removed > 0) improve(pivots, request.removed, kLeastGain * whole);
  at::Tensor scores = pivots.stakes() / 2;
  for (int64_t one = 0; one < units; ++one) {
    if (!pivots.kept(one)) scores[one].neg_();
  }
  return scores;
}

}  // namespace

extern const Criterion osscar{.name = "osscar",
                              .source = "Meng et al., OSSCAR, arXiv:2403.12983, section 3",
                              .needs = {.statistics = {&stats::hessian}},
                              .unit = unit,
                              .chooses = true};

}  // namespace prunus::criteria
