#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/calib/needs.h"
#include "prunus/calib/statistics_collector.h"
#include "prunus/model/linear_tap.h"

namespace prunus {

/// One weight W [out, in] as calibration saw it, g = dL/dW, or some rows of it. A vector (the gain
/// of a norm) is a matrix of one column. Only what the criterion's Needs ask for is defined.
/// L is the mean loss over all samples, L_j that of sample j alone: g = (1/N)·Σ_j ∂L_j/∂W.
struct WeightStats {
  at::Tensor weight;  ///< [out, in]
  Role role = Role::QProj;
  /// Of the layer that it is in, where statistics of the forward pass are asked for.
  const LayerStatistics* layer = nullptr;
  /// Sums of a statistic of the weight's input.
  const StatisticSums& of_input(const Statistic& statistic) const {
    return layer->of(statistic, role, expert);
  }
  int expert = -1;              ///< of a mixture's experts one by one; −1: none, or all joined
  at::Tensor gradient;          ///< [out, in]
  at::Tensor squared_gradient;  ///< [out, in]: (1/N)·Σ_j (∂L_j/∂W)², the diagonal of the Fisher
  at::Tensor row_saliency;      ///< FP64 [out]: Σ_i W[k,i]·g[k,i], signed
  at::Tensor bias;              ///< [out], where it counts
  at::Tensor bias_gradient;     ///< [out]
  at::Tensor squared_bias_gradient;  ///< [out]
  at::Tensor bias_saliency;          ///< FP64 [out]: b[k]·g_b[k] of a norm, part of row_saliency
  at::Tensor column_saliency;        ///< FP64 [in]:  Σ_o W[o,k]·g[o,k], signed
  /// Of a mixture, as part of its router, whose rows are the experts. FP64 [experts]:
  at::Tensor output_norm;    ///< Σ ‖g_e(x)·f_e(x)‖₂ over the tokens x that chose expert e
  at::Tensor routed_tokens;  ///< how many these are

  /// What is known of one expert's part of the experts' joined weight.
  WeightStats of_expert(const ExpertPart& part) const;
};

}  // namespace prunus
