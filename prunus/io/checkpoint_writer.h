#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/descriptor.h"

namespace prunus {

/// One tensor that will be written.
struct TensorPlan {
  std::string name;      ///< valid UTF-8, unique, not "__metadata__"
  at::ScalarType dtype;  ///< Float, Half, BFloat16; of what is no weight also Long, Byte, Char
  std::vector<int64_t> shape;  ///< empty for a scalar; sizes of 0 are legal
};

/// Writes safetensors weights one tensor at a time, into a directory that is still being staged.
/// Same plan and same tensors: same bytes.
///
/// Shards are filled greedily in the order of the plan, so that tensors planned together stay
/// together; a tensor larger than a shard gets its own. One shard: model.safetensors. Several:
/// model-00001-of-000NN.safetensors and model.safetensors.index.json. Another `stem` than "model"
/// begins these names instead.
/// Inside a file, as the reference writer: dtype descending (F32, BF16, F16), then name; header
/// padded with spaces to a multiple of 8 bytes; metadata {"format": "pt"}.
/// Source: huggingface/safetensors, tensor.rs, prepare().
class CheckpointWriter {
 public:
  /// Decides shards, order and headers; writes nothing yet. `dir` exists.
  /// Throws InvalidArgument on a duplicate or unusable name, dtype or shape.
  CheckpointWriter(std::string dir, std::vector<TensorPlan> tensors,
                   uint64_t max_shard_bytes = 5'000'000'000, std::string stem = "model");

  /// All planned tensors in the order in which write() must be called.
  std::span<const TensorPlan> order() const { return order_; }

  /// Appends the next tensor of order(). `tensor`: CPU, contiguous, exactly the planned dtype and
  /// shape; not kept. Throws InvalidArgument; Io (disk full, ...), after which the same call may be
  /// repeated.
  void write(std::string_view name, const at::Tensor& tensor);

  /// Syncs to disk and writes the index, last. Nothing may be written afterwards.
  /// Throws InvalidArgument where tensors are missing; Io.
  void finish();

 private:
  struct Shard {
    std::string file_name;
    std::string header;  // length, JSON and padding
    size_t first;        // tensors [first, last) of order_
    size_t last;
    uint64_t size_bytes;
  };

  void assign_shards(uint64_t max_shard_bytes);
  void lay_out(Shard& shard);
  void name_shards();
  void open_shard();
  void close_shard();
  std::string path_of(const Shard& shard) const;

  std::string dir_;
  std::string stem_;
  std::vector<TensorPlan> order_;
  std::vector<uint64_t> offsets_;  // absolute, in the tensor's own file; as order_
  std::vector<Shard> shards_;
  uint64_t total_bytes_ = 0;
  size_t next_ = 0;   // in order_
  size_t shard_ = 0;  // in shards_
  bool finished_ = false;
  Descriptor file_;
};

}  // namespace prunus
