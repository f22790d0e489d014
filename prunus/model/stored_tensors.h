#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/io/checkpoint.h"
#include "prunus/model/quantization.h"

namespace prunus {

/// The tensors of a checkpoint as weights: what is quantised is turned back into BF16 when it is
/// read, one tensor at a time; the others are as they are stored.
class StoredTensors {
 public:
  /// `quantization`: of a checkpoint with quantization_config.
  explicit StoredTensors(Checkpoint checkpoint,
                         std::optional<Quantization> quantization = std::nullopt)
      : checkpoint_(std::move(checkpoint)), quantization_(std::move(quantization)) {}

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::optional<Quantization>& quantization() const { return quantization_; }

  /// Whether read() turns this tensor back.
  bool quantized(const std::string& name) const;
  /// The dtype that read() gives. Throws NotFound; Unsupported for a stored dtype that is none of
  /// F32, F16 and BF16 and has no scales beside it.
  at::ScalarType dtype(const std::string& name) const;
  /// Throws NotFound; Unsupported, Corrupt as dequantize().
  at::Tensor read(const std::string& name) const;
  void prefetch(const std::string& name) const;
  void release(const std::string& name) const;

  /// Names of the tensors beside `name` that it takes to read it: its scales.
  std::vector<std::string> beside(const std::string& name) const;
  /// Whether a tensor of the checkpoint says something about quantised activations alone.
  bool is_about_activations(const std::string& name) const;

 private:
  std::optional<std::string> scale_of(const std::string& name) const;
  std::optional<std::string> zero_point_of(const std::string& name) const;

  Checkpoint checkpoint_;
  std::optional<Quantization> quantization_;
};

}  // namespace prunus
