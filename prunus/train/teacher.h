#pragma once
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/lm_head.h"
#include "prunus/model/model.h"
#include "prunus/train/train_data.h"

namespace prunus {

/// What a teacher says about one batch.
struct TeacherStates {
  at::Tensor hidden;              ///< output of its last layer, [rows, seq, hidden_size]
  std::vector<at::Tensor> seams;  ///< output of the layers asked for, same shape
};

/// The unpruned model that a student learns from. Streamed, its layers are read one at a time, once
/// for all batches of an optimiser step; resident, they are held in FP32.
class Teacher {
 public:
  /// `seam_layers`: its layers whose outputs are wanted too, ascending.
  Teacher(const Model& model, at::Device device, bool resident,
          std::vector<int64_t> seam_layers = {});

  /// One pass over the layers for all batches. Memory: hidden states of all of them.
  std::vector<TeacherStates> run(const std::vector<TrainBatch>& batches) const;
  /// Logits FP32 [n, vocab] of hidden states [n, hidden_size] from run().
  at::Tensor logits(const at::Tensor& hidden) const { return head_.logits(hidden); }
  const Model& model() const { return model_; }

 private:
  const Model& model_;
  at::Device device_;
  std::vector<BlockWeights> resident_;  // empty: streamed
  std::vector<int64_t> seam_layers_;
  LmHead head_;
};

}  // namespace prunus
