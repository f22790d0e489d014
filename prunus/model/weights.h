#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/family.h"
#include "prunus/model/packed_weight.h"

namespace prunus {

/// Where a weight lies in the checkpoint (model/layout.h). The rows of the file's tensor form
/// `groups` groups of `of` rows each; the weight has rows begin to begin + rows of every group.
/// Rows are those of [out, in], also where the file holds the transpose.
struct StoredPlace {
  std::string file_tensor;  ///< the name in the file; "{e}" stands for the number of each expert
  int64_t experts = 0;      ///< above 0: so many tensors, joined along `expert_dim`
  int expert_dim = 0;
  int64_t groups = 1;
  int64_t begin = 0;
  int64_t rows = 0;
  int64_t of = 0;  ///< equal to `rows` where the file's tensor is this weight alone
  bool transposed = false;

  bool plain() const { return experts == 0 && rows == of && !transposed; }
};

/// One weight of a model: a row of the family's table, placed in a layer, with its sizes.
struct TensorInfo {
  std::string
      name;  ///< the file's, or where several are in one tensor, that and its own: "a.b#q_proj"
  const TensorSpec* spec = nullptr;
  int layer = -1;              ///< −1 for tensors outside the blocks
  std::vector<int64_t> shape;  ///< as the configuration demands it
  StoredPlace stored = {};
};

/// Where weights come from: a mapped checkpoint, or another source seen through a keep-list
/// (graph/shrink.h). Nothing is held that was not read, and reading again is always possible.
/// One thread at a time may call a source: some keep the tensor that they read last. The tensors
/// that they give may be read by any thread.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// The tensor in its file's dtype on the CPU; may share mapped memory, so never write to it.
  virtual at::Tensor read(const TensorInfo& tensor) const = 0;
  /// Rows [begin, begin + count) of a matrix, as read(); a cut source cuts no more than these.
  virtual at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const;
  /// The rows with these indices, int64 [n] → [n, columns]; a copy.
  virtual at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const;
  /// Whether there is such a tensor: false of one that only an overlay (model/overlay.h) can give.
  virtual bool has(const TensorInfo& /*tensor*/) const { return true; }
  /// A matrix of a layer without experts, or the embedding or head, as a GGUF file or a checkpoint
  /// with bitmasks stores it; nothing of other checkpoints, and where row products do not read what
  /// is stored. May share mapped memory.
  virtual std::optional<PackedWeight> read_packed(const TensorInfo& /*tensor*/) const {
    return std::nullopt;
  }
  /// Whether it is stored quantised in blocks, of whichever kind, or as a bitmask of 8-bit numbers.
  virtual bool in_blocks(const TensorInfo& /*tensor*/) const { return false; }
  /// dtype that read() will give.
  virtual at::ScalarType dtype(const TensorInfo& tensor) const = 0;
  /// Hint: read() of this tensor comes soon.
  virtual void prefetch(const TensorInfo& tensor) const = 0;
  /// Gives the tensor's memory back. Views stay valid: their pages are read again when touched.
  virtual void release(const TensorInfo& tensor) const = 0;
};

}  // namespace prunus
