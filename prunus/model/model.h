#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/io/checkpoint.h"
#include "prunus/model/config.h"
#include "prunus/model/stored_tensors.h"
#include "prunus/model/tensor_names.h"
#include "prunus/model/weights.h"

namespace prunus {

/// The weights of one decoder layer (or of the parts outside the layers) by role, in the model's
/// precision() on the computing device. Undefined tensors are parts the model does not have.
class BlockWeights {
 public:
  const at::Tensor& operator[](Role role) const { return tensors_[static_cast<size_t>(role)]; }
  at::Tensor& operator[](Role role) { return tensors_[static_cast<size_t>(role)]; }
  /// The matrix of a role that has no tensor since it is held as a file stores it, or null.
  const PackedWeight* packed(Role role) const {
    const auto found = packed_.find(role);
    return found == packed_.end() ? nullptr : &found->second;
  }
  const std::map<Role, PackedWeight>& all_packed() const { return packed_; }

 private:
  friend class Model;
  std::array<at::Tensor, kRoleCount> tensors_;
  std::map<Role, PackedWeight> packed_;
  std::array<bool, kRoleCount> owned_{};  // false: shares the source's memory, which is read-only
};

/// A model that need not fit in memory: its configuration, the list of its tensors, and a source
/// that produces each of them on demand. For one thread at a time: also the const functions note
/// which tensors were checked, and sources may keep what they read (weights.h). What they return
/// may be used by any thread.
class Model {
 public:
  Model(ModelConfig config, std::shared_ptr<const WeightSource> source);

  const ModelConfig& config() const { return config_; }
  int64_t layer_count() const { return static_cast<int64_t>(config_.layers.size()); }
  /// Every tensor, in the family table's order: embedding, layers, final norm, head.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// The tensor with this role in this layer (−1: outside). LmHead of a tied model is EmbedTokens.
  /// Throws InvalidArgument where the model has no such tensor.
  const TensorInfo& tensor(Role role, int layer = -1) const;
  const WeightSource& source() const { return *source_; }
  std::shared_ptr<const WeightSource> shared_source() const { return source_; }

  /// The dtype that load() gives and that everything downstream computes in: FP32, or FP64 for
  /// scores free of rounding (twice the memory, half the speed).
  at::ScalarType precision() const { return precision_; }
  void set_precision(at::ScalarType precision) { precision_ = precision; }

  /// One tensor in precision() on `device`; the source's memory is given back unless the result
  /// shares it. Throws Corrupt naming the tensor if it holds NaN or infinity (looked at once per
  /// tensor). `memory`, where defined, is a tensor of that dtype, of the right shape and device to
  /// write into.
  at::Tensor load(const TensorInfo& tensor, at::Device device, at::Tensor memory = {}) const;
  /// Every tensor of one decoder layer, as load(). `recycled` gives its memory where sizes match:
  /// faulting in a layer's worth of new pages each time costs a tenth of a calibration.
  BlockWeights load_block(int layer, at::Device device, BlockWeights recycled = {}) const;
  /// The same on the CPU for decoding, as it is stored: matrices of a layer without experts in what
  /// row products read (PackedWeight), all else as load_stored().
  BlockWeights load_packed_block(int layer) const;
  /// One matrix as it is stored, if row products read that. Throws as load().
  std::optional<PackedWeight> load_packed(const TensorInfo& tensor) const;
  /// One tensor on the CPU as it is stored; but what lies in blocks in BF16, and vectors in FP32.
  /// Throws as load().
  at::Tensor load_stored(const TensorInfo& tensor) const;
  /// Gives back what load_block's result may still share with the source.
  void release_block(int layer) const;
  void prefetch_block(int layer) const;

  int64_t parameters() const;  ///< tied weights counted once
  int64_t bytes() const;       ///< in the file's dtypes

 private:
  at::Tensor checked(const TensorInfo& tensor, const at::Tensor& stored,
                     const at::Tensor& loaded) const;

  ModelConfig config_;
  std::shared_ptr<const WeightSource> source_;
  at::ScalarType precision_ = at::kFloat;
  std::vector<TensorInfo> tensors_;
  std::vector<std::array<int, kRoleCount>>
      index_;                              // [layer + 1][role] → position in tensors_, or −1
  mutable std::set<std::string> checked_;  // tensors already found finite
};

/// How many indices a factor of an axis has in this layer (−1: outside the layers).
int64_t factor_size(const ModelConfig& config, int layer, Factor factor);

/// The tensors a configuration calls for, in table order.
std::vector<TensorInfo> tensors_of(const ModelConfig& config);

/// A checkpoint on disk as a source of weights.
class CheckpointSource : public WeightSource {
 public:
  /// `names`: what the checkpoint calls the tensors of the family's table.
  /// `quantization`: how its weights are quantised, where they are; they are read as BF16.
  explicit CheckpointSource(Checkpoint checkpoint, TensorNames names = {},
                            std::optional<Quantization> quantization = std::nullopt)
      : stored_(std::move(checkpoint), std::move(quantization)), names_(std::move(names)) {}
  at::Tensor read(const TensorInfo& tensor) const override;
  std::optional<PackedWeight> read_packed(const TensorInfo& tensor) const override;
  bool in_blocks(const TensorInfo& tensor) const override;
  bool has(const TensorInfo& tensor) const override;
  at::ScalarType dtype(const TensorInfo& tensor) const override;
  void prefetch(const TensorInfo& tensor) const override;
  void release(const TensorInfo& tensor) const override;
  const Checkpoint& checkpoint() const { return stored_.checkpoint(); }
  const StoredTensors& stored() const { return stored_; }
  const TensorNames& names() const { return names_; }
  /// What a tensor of the family's table is called in this checkpoint.
  std::string name_in_file(const std::string& name) const { return names_.in_file(name); }

 private:
  StoredTensors stored_;
  TensorNames names_;
};

/// Opens a GGUF file (open_gguf_model()), or a Hugging Face directory: config.json, then every
/// tensor's presence, dtype and shape. No weight is read, but for one thing: where the config ties
/// the head to the embedding and the checkpoint has both, their bytes are compared, and if they
/// differ the model is untied, as transformers does. A tied model that stores its head alone has
/// that as its embedding. Quantised weights that can be turned back are (model/quantization.h),
/// tensor by tensor as they are read, and a line says so. Of a multimodal model the language model
/// is opened (model/text_part.h), and a line says so. Throws as parse_config and Checkpoint::open;
/// NotFound for a missing tensor; Corrupt for a wrong shape; Unsupported for a tensor the family's
/// table does not know, or one it calls absent.
Model open_model(const std::string& dir);

/// Throws Corrupt naming `what` if the tensor holds NaN or infinity. One pass over memory.
void check_finite(const at::Tensor& tensor, const std::string& what);

}  // namespace prunus
