#include <algorithm>
#include <array>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/model/matmul.h"
#include "prunus/solve/sparse_system.h"

namespace prunus::sparse_solvers {
namespace {

constexpr int64_t kBlock = 128;

// Columns that are swept, and whose weights are compared, at a time.
int64_t block_of(const Pattern& pattern) {
  switch (pattern.kind) {
    case Pattern::Kind::Block:
      return pattern.m;
    case Pattern::Kind::NofM:
      return std::max(pattern.m, kBlock / pattern.m * pattern.m);
    default:
      return kBlock;
  }
}

// The upper factor U with H⁻¹ = Uᵀ·U. Backwards H is L·Lᵀ; forwards that is R·Rᵀ with R upper, and
// U = R⁻¹: one factorisation, where inverting H and factoring the inverse takes two.
at::Tensor inverse_factor(const at::Tensor& hessian) {
  const at::Tensor lower = factor_of(hessian.flip({0, 1}), 0, "solver sparsegpt");
  const at::Tensor upper = lower.flip({0, 1});
  const at::Tensor one = at::eye(upper.size(0), upper.options());
  return at::linalg_solve_triangular(upper, one, /*upper=*/true).contiguous();
}

at::Tensor damped(const SparseProblem& problem, const at::Tensor& dead) {
  at::Tensor hessian = problem.gram.clone();
  hessian.diagonal().masked_fill_(dead, 1);
  const at::Tensor diagonal = hessian.diagonal().clone();
  hessian.diagonal().add_(diagonal * problem.options.ridge +
                          diagonal.mean() * problem.options.damping);
  return hessian;
}

// One block of columns, row by row.
class BlockSweep {
 public:
  // `factor`: the block of U, [width, width], contiguous.
  BlockSweep(const at::Tensor& factor, const Pattern* chosen)
      : width_(factor.size(0)), factor_(factor.const_data_ptr<float>()), pattern_(chosen) {}

  // w, errors [width]; kept is written where a pattern is given, and read else.
  void row(float* w, bool* kept, float* errors) const {
    for (int64_t i = 0; i < width_; ++i) {
      if (pattern_ != nullptr && i % pattern_->m == 0) choose(w, kept, i);
      errors[i] = 0;
      if (kept[i]) continue;
      const float* u = factor_ + i * width_;
      const float error = w[i] / u[i];
      for (int64_t j = i + 1; j < width_; ++j) w[j] -= error * u[j];
      w[i] = 0;
      errors[i] = error;
    }
  }

 private:
  // By the weights as they are by now.
  void choose(const float* w, bool* kept, int64_t begin) const {
    const int64_t size = std::min(pattern_->m, width_ - begin);
    const int64_t stay = (size * pattern_->n + pattern_->m - 1) / pattern_->m;
    std::array<std::pair<float, int64_t>, 64> scores;
    for (int64_t i = 0; i < size; ++i) {
      const float ratio = w[begin + i] / factor_[(begin + i) * width_ + begin + i];
      scores[static_cast<size_t>(i)] = {ratio * ratio, i};
      kept[begin + i] = true;
    }
    const auto end = scores.begin() + size;
    std::nth_element(scores.begin(), scores.begin() + (size - stay), end);
    for (int64_t i = 0; i < size - stay; ++i) {
      kept[begin + scores[static_cast<size_t>(i)].second] = false;
    }
  }

  int64_t width_;
  const float* factor_;
  const Pattern* pattern_;
};

SparseSolved sweep(const SparseProblem& problem, const SparseMatrix& matrix,
                   const at::Tensor& factor, const at::Tensor& dead) {
  const bool chooses = !matrix.kept.defined();
  const bool by_group = chooses && !problem.pattern.counted();
  at::Tensor weight = matrix.weight.to(at::kCPU).clone();
  weight.masked_fill_(dead, 0);
  const int64_t rows = weight.size(0);
  const int64_t columns = weight.size(1);
  at::Tensor kept = chooses ? at::empty(weight.sizes(), at::kBool) : matrix.kept.to(at::kCPU);
  const int64_t step = block_of(problem.pattern);
  for (int64_t begin = 0; begin < columns; begin += step) {
    const int64_t end = std::min(columns, begin + step);
    const at::Tensor u = factor.narrow(0, begin, end - begin);
    const at::Tensor own = u.narrow(1, begin, end - begin).contiguous();
    at::Tensor block = weight.narrow(1, begin, end - begin).contiguous();
    at::Tensor stay = kept.narrow(1, begin, end - begin).contiguous();
    if (chooses && !by_group) {
      const Pattern group{.kind = problem.pattern.kind == Pattern::Kind::Row
                                      ? Pattern::Kind::Row
                                      : Pattern::Kind::Layer};
      const int64_t zeros = matrix.zeros * end / columns - matrix.zeros * begin / columns;
      stay = kept_without(group, (block / own.diagonal()).square_(), zeros);
    }
    at::Tensor errors = at::empty_like(block);
    const BlockSweep swept(own, by_group ? &problem.pattern : nullptr);
    float* w = block.mutable_data_ptr<float>();
    bool* k = stay.mutable_data_ptr<bool>();
    float* e = errors.mutable_data_ptr<float>();
    const int64_t width = end - begin;
    at::parallel_for(0, rows, 16, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        swept.row(w + row * width, k + row * width, e + row * width);
      }
    });
    weight.narrow(1, begin, width).copy_(block);
    if (chooses) kept.narrow(1, begin, width).copy_(stay);
    if (end == columns) break;
    weight.narrow(1, end, columns - end)
        .sub_(product(errors, u.narrow(1, end, columns - end).contiguous()));
  }
  return {weight.to(matrix.weight.device()), kept};
}

std::vector<SparseSolved> solve(const SparseProblem& problem) {
  const at::Tensor gram = problem.gram.to(at::kCPU);
  const at::Tensor dead = gram.diagonal() == 0;
  const at::Tensor factor =
      inverse_factor(damped(problem, dead.to(problem.gram.device()))).to(at::kCPU);
  std::vector<SparseSolved> solved;
  for (const SparseMatrix& matrix : problem.matrices) {
    solved.push_back(sweep(problem, matrix, factor, dead));
  }
  return solved;
}

}  // namespace

// Column by column, each that goes spreads what it gave over those behind it. What goes is chosen
// block by block (N:M: group by group) by w² / [H⁻¹]_jj of the weights as they are by then; so
// `row` is a row of a block, and `layer` a block.
extern const SparseSolver sparsegpt{
    .name = "sparsegpt",
    .source = "Frantar & Alistarh, SparseGPT, arXiv:2301.00774, algorithm 1",
    .summary = "zeros column by column, the columns behind make up for each",
    .takes_cross = false,
    .options = {.damping = 0.01},
    .solve = solve};

}  // namespace prunus::sparse_solvers
