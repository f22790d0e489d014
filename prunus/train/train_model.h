#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/adapter/lora.h"
#include "prunus/model/decoder.h"
#include "prunus/model/model.h"
#include "prunus/train/frozen_weight.h"
#include "prunus/train/loss_head.h"
#include "prunus/train/optimizer.h"
#include "prunus/train/teacher.h"
#include "prunus/train/train_data.h"

namespace prunus {

struct TrainModelOptions {
  /// Recompute each layer in the backward pass instead of keeping its activations: memory of one
  /// layer's activations and one hidden state per layer, a third more arithmetic.
  bool checkpoint_blocks = false;
  at::ScalarType compute = at::kFloat;  ///< of the matrix products: Float or BFloat16
  bool int8_base = false;               ///< adapters only: frozen matrices of the layers as INT8
};

/// A seam: the output of a layer that stands before removed ones is compared with the teacher's
/// hidden state where the removed layers end.
struct Seam {
  int64_t layer = 0;          ///< of the trained model
  int64_t teacher_layer = 0;  ///< last of the removed layers, of the teacher
};

/// A model in training: adapters on frozen weights, or all weights in FP32: whatever the family has
/// in the file, norms and biases, positions, routers and experts too. Forward and backward go
/// layer by layer with one autograd graph each, so that gradients enter at seams and layers can be
/// recomputed. Frozen matrices stay mapped in the file's dtype.
class TrainModel {
 public:
  /// Adapters only. Shares the adapter's tensors.
  TrainModel(const Model& base, at::Device device, TrainModelOptions options, LoraAdapter adapter);
  /// All weights.
  TrainModel(const Model& base, at::Device device, TrainModelOptions options);

  /// What is trained, in a fixed order.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  bool full() const { return !adapter_.has_value(); }
  const std::optional<LoraAdapter>& adapter() const { return adapter_; }
  const Model& base() const { return base_; }

  struct Pass {
    LossWeights weights;
    const Teacher* teacher = nullptr;       ///< needed where weights.needs_teacher()
    const TeacherStates* states = nullptr;  ///< of this batch
    std::vector<Seam> seams;                ///< as many as states->seams
    double scale = 0;  ///< factor of the objective whose gradients are added up; 0: no gradient
    uint64_t dropout_seed = 0;
  };
  /// Loss sums of one batch; with a scale, gradients are added to the parameters'. Dropout acts
  /// only with a scale. Not finite sums are returned as they are.
  LossSums run(const TrainBatch& batch, const Pass& pass);

  /// Sparse weights of full training keep their zeros: to be called before and after each update.
  void mask_gradients();
  void mask_values();
  int64_t sparse_weights() const;  ///< how many weights are kept sparse

  /// Where the forward pass of a batch first gives NaN or infinity: "the embedding", "layer 3", or
  /// "the head". For a message after a loss that is not finite.
  std::string first_bad_place(const TrainBatch& batch);

  /// The model with what was trained so far: a view, computed when it is read.
  Model result() const;
  std::shared_ptr<const WeightSource> result_source() const;

 private:
  class Hook;
  void open_weights();
  BlockWeights frozen_block(int layer);
  BlockWeights trained_block(int layer);
  at::Tensor trained(const TensorInfo& tensor);
  at::Tensor trained(Role role);
  InputEmbedding open_embedding();
  LossHead::Weights open_head();
  at::Tensor table_rows(const TrainBatch& batch) const;
  at::Tensor embed_batch(const TrainBatch& batch) const;
  void embedding_backward(const TrainBatch& batch, at::Tensor grad);
  void backward(const TrainBatch& batch, const Pass& pass, at::Tensor grad,
                std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs);
  double seam_loss(const TrainBatch& batch, const Pass& pass, int64_t layer,
                   const at::Tensor& output, at::Tensor* grad) const;

  const Model& base_;
  at::Device device_;
  TrainModelOptions options_;
  Decoder decoder_;
  std::optional<LoraAdapter> adapter_;
  std::vector<BlockWeights> blocks_;
  std::map<std::pair<int, Role>, FrozenWeight> frozen_;
  std::vector<Parameter> parameters_;
  std::map<std::string, at::Tensor> trained_;  // full training: FP32 by tensor name
  std::map<std::string, at::Tensor> masks_;    // full training: true = free, of sparse weights
  std::map<std::pair<int, Role>, bool> masked_adapters_;
  std::unique_ptr<InputEmbedding> input_embedding_;
  std::unique_ptr<LossHead> head_;
  int64_t first_trained_layer_ = 0;
};

}  // namespace prunus
