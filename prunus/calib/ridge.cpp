#include "prunus/calib/ridge.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr double kFloor = 1e-7;
constexpr double kLeastRidge = 1e-6;
constexpr int kTries = 8;

}  // namespace

RidgedFactor ridged_factor(const at::Tensor& gram, double ridge, bool free_last, const char* what) {
  const at::Tensor diagonal = gram.diagonal();
  const double floor = kFloor * diagonal.mean().item<double>();
  PRUNUS_CHECK(std::isfinite(floor), Numeric, what,
               ": the second moments of the calibration's inputs are not finite");
  if (floor <= 0) return {};
  for (int i = 0; i < kTries; ++i, ridge = std::max(10 * ridge, kLeastRidge)) {
    at::Tensor added = diagonal * ridge + floor;
    if (free_last) added[-1].fill_(floor);
    const auto [factor, info] = at::linalg_cholesky_ex(gram + at::diag(added));
    if (info.item<int>() == 0) return {factor, added};
  }
  PRUNUS_FAIL(Numeric, what, ": the second moments of ", diagonal.numel(),
              " inputs have no inverse; calibrate on more text");
}

}  // namespace prunus
