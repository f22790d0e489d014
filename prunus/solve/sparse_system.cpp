#include "prunus/solve/sparse_system.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/base/error.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

// Rows at a time whose vectors stay in the cache from one operation to the next.
constexpr int64_t kRowsAtOnce = 64;

at::Tensor row_dots(const at::Tensor& a, const at::Tensor& b) { return (a * b).sum(1, true); }

// Of a row that is done, 0 / 0.
at::Tensor quotient(const at::Tensor& a, const at::Tensor& b) {
  return at::where(b > 0, a / b.clamp_min(1e-38), at::zeros_like(a));
}

void for_rows(int64_t rows, const std::function<void(int64_t begin, int64_t count)>& act) {
  at::parallel_for(0, (rows + kRowsAtOnce - 1) / kRowsAtOnce, 1, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      const int64_t begin = i * kRowsAtOnce;
      act(begin, std::min(kRowsAtOnce, rows - begin));
    }
  });
}

}  // namespace

at::Tensor factor_of(const at::Tensor& m, double added, const char* what) {
  constexpr int kTries = 7;
  const double mean = m.diagonal().mean().item<double>();
  PRUNUS_CHECK(std::isfinite(mean), Numeric, what,
               ": the second moments of the calibration's inputs are not finite");
  double more = 0;
  for (int i = 0; i < kTries; ++i, more = more == 0 ? 1e-6 * mean : 10 * more) {
    at::Tensor ridged = m.clone();
    ridged.diagonal().add_(added + more);
    const auto [factor, info] = at::linalg_cholesky_ex(ridged);
    if (info.item<int>() == 0) return factor;
  }
  PRUNUS_FAIL(Numeric, what, ": the second moments of ", m.size(0),
              " inputs are not positive definite; calibrate on more text, or raise --ridge");
}

ScaledSystem::ScaledSystem(const SparseProblem& problem)
    : scale(problem.gram.diagonal().clamp_min(0).sqrt()), ridge(problem.options.ridge) {
  scale.masked_fill_(scale == 0, 1);
  moments = problem.gram / scale / scale.unsqueeze(1);
  moments.diagonal().fill_(1 + ridge);
}

at::Tensor ScaledSystem::target(const SparseMatrix& matrix, const at::Tensor& dense) const {
  if (!matrix.cross.defined()) return product(dense, moments);
  return matrix.cross / scale + dense * ridge;
}

at::Tensor refit_kept(const at::Tensor& moments, const at::Tensor& target, const at::Tensor& start,
                      const at::Tensor& kept, int64_t steps) {
  constexpr double kDone = 1e-12;  // of squares
  const at::Tensor mask = kept.to(target.scalar_type());
  at::Tensor x = start * mask;
  at::Tensor residual = (target - product(x, moments)).mul_(mask);
  at::Tensor direction = residual.clone();
  at::Tensor square = row_dots(residual, residual);
  const at::Tensor enough = (target * mask).square_().sum(1, true).mul_(kDone);
  for (int64_t step = 0; step < steps; ++step) {
    if ((square <= enough).all().item<bool>()) break;
    at::Tensor curved = product(direction, moments);
    for_rows(x.size(0), [&](int64_t begin, int64_t count) {
      const auto rows = [&](const at::Tensor& of) { return of.narrow(0, begin, count); };
      at::Tensor p = rows(direction);
      at::Tensor q = rows(curved).mul_(rows(mask));
      at::Tensor before = rows(square);
      const at::Tensor length = quotient(before, row_dots(p, q));
      rows(x).add_(p * length);
      at::Tensor r = rows(residual);
      r.sub_(q.mul_(length));
      const at::Tensor after = row_dots(r, r);
      p.mul_(quotient(after, before)).add_(r);
      before.copy_(after);
    });
  }
  return x;
}

at::Tensor refit_rows(const at::Tensor& moments, const at::Tensor& target, const at::Tensor& kept) {
  at::Tensor solved = at::zeros_like(target);
  for (int64_t row = 0; row < target.size(0); ++row) {
    const at::Tensor places = kept[row].nonzero().squeeze(1);
    if (places.numel() == 0) continue;
    const at::Tensor block = moments.index_select(0, places).index_select(1, places);
    const at::Tensor right = target[row].index_select(0, places).unsqueeze(1);
    const at::Tensor values =
        at::cholesky_solve(right, factor_of(block, 0, "refit of a sparse row")).squeeze(1);
    solved[row].index_copy_(0, places, values);
  }
  return solved;
}

}  // namespace prunus
