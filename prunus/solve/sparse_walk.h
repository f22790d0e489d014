#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/layer_loop.h"
#include "prunus/calib/needs.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/calib/weight_stats.h"
#include "prunus/model/model.h"
#include "prunus/model/overlay.h"
#include "prunus/solve/sparse_solver.h"

namespace prunus {

/// What is to be zero, and how it is found.
struct SparseTask {
  const SparseSolver* solver = nullptr;
  SparseOptions options = {};
  Pattern pattern = {};
  LayerRange layers;  ///< the others stay whole
  /// How many weights of a matrix go, where the pattern leaves that free: of an expert's where the
  /// matrix [rows, columns] is one of a mixture.
  std::function<int64_t(int layer, Role role, int64_t rows, int64_t columns)> zeros;
  /// Scores of a matrix's weights, higher = keep, by which what stays is chosen; null: the solver
  /// chooses. `needs`: statistics of inputs that it reads.
  std::function<at::Tensor(const WeightStats& stats)> score = nullptr;
  Needs needs = {};
  /// Every matrix is solved behind the dense model, and the model stays dense.
  bool trial = false;
};

/// One matrix, with all experts of a mixture together.
struct SparseResult {
  int layer = 0;
  Role role = Role::QProj;
  int64_t weights = 0;
  int64_t zeros = 0;
  double error = 0;  ///< relative_loss() on the model pruned so far; of experts their mean
};

/// Sets weights of every matrix of the layers to zero and updates the others, stage by stage (q, k
/// and v; o; gate and up; down), each on what enters it behind the stages done before, so that one
/// pass of the model does. With a task of two streams the dense model runs beside it. Experts of a
/// mixture have the tokens that chose them, and the dense weights' output on those as target:
/// without the dense stream, which routes otherwise. Where a norm follows the part, or follows the
/// sum, there is no residual correction.
/// What no token reaches has zeros by magnitude. Values are rounded to the file's dtypes before the
/// next stage sees them. Memory: a layer, dense and pruned; of an input its second moments, and as
/// much for the solver; hidden states; up to 1 GiB of inputs of one matrix.
/// `done` is called after each layer with its new matrices, in order; where an earlier process left
/// them, `restored(layer)` gives them (else an empty list), and the layer is passed without being
/// solved again; of it there are no results.
/// Throws InvalidArgument: no rows; a precision other than FP32 or BF16; Corrupt: restored tensors
/// that are not the layer's; Numeric; Interrupted.
std::vector<SparseResult> solve_sparse(
    const Model& dense, const std::vector<TokenBatch>& rows, at::Device device,
    const SparseTask& task,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored = {});

/// The matrices of a layer that may have zeros: those of attention and of the feed-forward part,
/// experts included, routers excluded.
std::vector<Role> maskable_roles(const Model& model, int layer);

}  // namespace prunus
