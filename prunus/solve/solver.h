#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include <ATen/core/Tensor.h>

namespace prunus {

struct SolverOptions {
  /// λ ≥ 0: weights are held to what they were as if λ times the mean square of each input were
  /// added to it (a ridge of λ·diag). Measured best on SmolLM2-135M: 0.1 at 24 to 64 thousand
  /// tokens; with more it may be less.
  double ridge = 0.1;
  /// β in [0, 1]: how much of the error of the layers before is to be made up for as well
  /// (solve/two_streams.h).
  double residual_correction = 0.5;
  /// Tokens count by 1 / mean square of the stream they are added to, so that those of massive
  /// activations do not decide everything.
  bool token_weights = true;
  bool operator==(const SolverOptions&) const = default;
};

/// One matrix that reads what was cut, and what it should give. Tokens x [in] with targets t [out]
/// and weights ω; where the matrix has a bias, x has one more channel that is always 1, the last.
struct SolveRequest {
  at::Tensor weight;  ///< FP64 [out, in]: kept columns of the dense matrix
  at::Tensor bias;    ///< FP64 [out], or undefined
  at::Tensor gram;    ///< FP64 [in (+1), in (+1)]: Σ ω·x·xᵀ
  at::Tensor cross;   ///< FP64 [out, in (+1)]: Σ ω·t·xᵀ
  double square = 0;  ///< Σ ω·‖t‖²
  SolverOptions options = {};
};

struct Solved {
  at::Tensor weight;  ///< FP64 [out, in]
  at::Tensor bias;    ///< FP64 [out], undefined where the request has none
};

/// How the kept weights make up for what was cut: an update of the matrices that read it, o_proj
/// and down_proj. One object per file of solve/solvers/.
struct Solver {
  std::string_view name;  ///< as on the command line
  std::string_view source;
  std::string_view summary;  ///< one line for --help
  /// The matrices get a bias where they have none (model/added_biases.h).
  bool adds_bias = false;
  /// Of layers that went: what is behind them is scaled to the stream that they would have left
  /// (solve/stream_scale.h). `solve` is null.
  bool scales_stream = false;
  /// Throws Numeric where the equations cannot be solved.
  Solved (*solve)(const SolveRequest& request) = nullptr;
};

namespace solvers {
/// Every solver, by file name.
std::span<const Solver* const> all();
}  // namespace solvers

/// The solver of that name. Throws InvalidArgument listing the known ones.
const Solver& find_solver(std::string_view name);

/// Σ ω·‖t − W·x − b‖² of the request's tokens, by its sums.
double squared_error(const SolveRequest& request, const Solved& solved);

}  // namespace prunus
