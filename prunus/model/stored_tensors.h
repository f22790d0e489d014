#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/io/bitmask.h"
#include "prunus/io/checkpoint.h"
#include "prunus/model/quantization.h"

namespace prunus {

/// The tensors of a checkpoint as weights: what is quantised is turned back into BF16 when it is
/// read, what is stored as a bitmask gets its zeros (docs/formats/bitmask.md), one tensor at a
/// time; the others are as they are stored.
class StoredTensors {
 public:
  /// `quantization`: of a checkpoint with quantization_config.
  explicit StoredTensors(Checkpoint checkpoint,
                         std::optional<Quantization> quantization = std::nullopt);

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::optional<Quantization>& quantization() const { return quantization_; }

  /// Whether read() gives this tensor. It need not be one of the checkpoint's names.
  bool contains(const std::string& name) const;
  /// What read() gives. Throws NotFound; Corrupt where tensors of a bitmask contradict each other.
  std::vector<int64_t> shape(const std::string& name) const;
  /// Whether read() turns this tensor back.
  bool quantized(const std::string& name) const;
  /// Whether it is stored as a bitmask.
  bool masked(const std::string& name) const;
  /// Whether any tensor is.
  bool any_masked() const { return any_masked_; }
  /// A tensor that is masked(), checked, in mapped memory. Throws NotFound, Corrupt, Unsupported.
  BitmaskMatrix bitmask(const std::string& name) const;
  /// The dtype that read() gives. Throws NotFound; Unsupported for a stored dtype that is none of
  /// F32, F16 and BF16 and has no scales beside it.
  at::ScalarType dtype(const std::string& name) const;
  /// Throws NotFound; Unsupported, Corrupt as dequantize() and check_bitmask().
  at::Tensor read(const std::string& name) const;
  void prefetch(const std::string& name) const;
  void release(const std::string& name) const;

  /// Names of the tensors beside `name` that it takes to read it: its scales, its mask.
  std::vector<std::string> beside(const std::string& name) const;
  /// Whether a tensor of the checkpoint says something about quantised activations alone.
  bool is_about_activations(const std::string& name) const;

 private:
  std::optional<std::string> scale_of(const std::string& name) const;
  std::optional<std::string> zero_point_of(const std::string& name) const;
  std::vector<std::string> stored_as(const std::string& name) const;

  Checkpoint checkpoint_;
  std::optional<Quantization> quantization_;
  bool any_masked_ = false;
};

}  // namespace prunus
