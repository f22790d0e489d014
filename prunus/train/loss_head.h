#pragma once
#include <cstdint>
#include <functional>

#include <ATen/core/Tensor.h>

#include "prunus/model/final_norm.h"
#include "prunus/model/model.h"
#include "prunus/train/loss.h"
#include "prunus/train/train_data.h"

namespace prunus {

/// Places of a batch whose next token is scored.
struct ScoredPlaces {
  at::Tensor places;   ///< int64 [targets], index into [rows · seq]
  at::Tensor targets;  ///< int64 [targets], the next token's id
};
ScoredPlaces scored_places(const TrainBatch& batch, at::Device device);

/// Final norm, output projection and loss, over pieces of the tokens, so that all logits are never
/// in memory at once. Peak memory: 32 MiB of logits (three times that with a teacher), and 64 MiB
/// of head weights where they are converted.
class LossHead {
 public:
  /// Logits that exist at once: so many bytes of FP32, at least one token's.
  static constexpr int64_t kLogitBytes = int64_t{32} << 20;

  /// FP32; what requires a gradient is trained.
  struct Weights {
    at::Tensor norm;       ///< gain of the final norm [hidden_size]; undefined: there is none
    at::Tensor norm_bias;  ///< its bias, where it has one
    at::Tensor matrix;     ///< trained head [vocab, hidden]; undefined: the model's own, frozen
  };
  /// `compute`: dtype of the products. Keeps a reference to `model`.
  LossHead(const Model& model, at::Device device, at::ScalarType compute, Weights weights);

  /// Logits FP32 [count, vocab] of the teacher for places [begin, begin + count) of the batch's
  /// scored places; empty function: no teacher.
  using TeacherLogits = std::function<at::Tensor(int64_t begin, int64_t count)>;

  /// Loss of a batch. hidden [rows, seq, hidden_size], no graph. Where `scale` is not 0, gradients
  /// of scale · objective are added to the trained tensors' and written to `grad_hidden` (same
  /// shape).
  LossSums run(const at::Tensor& hidden, const ScoredPlaces& scored, const LossWeights& weights,
               const TeacherLogits& teacher, double scale, at::Tensor* grad_hidden) const;

 private:
  template <typename Use>
  void for_each_piece(Use use) const;
  FinalNorm norm() const;
  LossSums run_piece(const at::Tensor& input, const at::Tensor& targets, const LossWeights& weights,
                     const at::Tensor& teacher, double scale) const;
  at::Tensor logits_of(const at::Tensor& normed) const;
  void add_matrix_gradient(const at::Tensor& grad_logits, const at::Tensor& normed) const;

  const Model& model_;
  const TensorInfo& info_;
  at::Device device_;
  at::ScalarType compute_;
  Weights weights_;
  bool normalised_;      // the rows of the matrix are used at length one
  at::Tensor resident_;  // a frozen head that is kept as it is used
};

}  // namespace prunus
