#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/descriptor.h"
#include "prunus/io/gguf_blocks.h"
#include "prunus/io/gguf_entry.h"

namespace prunus {

/// One tensor that will be written.
struct GgufTensorPlan {
  std::string name;  ///< 1 to 63 bytes, unique
  const GgufBlockType* type = nullptr;
  std::vector<int64_t> shape;  ///< row-major, at most 4 sizes; the last a multiple of the block

  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const;
  uint64_t bytes() const;  ///< of its blocks
};

/// Writes one GGUF file, version 3, little-endian, one tensor at a time, under the name that it is
/// given: staging is the caller's. Metadata stand in the order given. Tensors follow each other in
/// the order of the plan, each at the next multiple of the alignment, the last one padded too, as
/// llama.cpp wants them. Same metadata, plan and bytes: same file. Layout: docs/formats/gguf.md.
class GgufWriter {
 public:
  /// Creates the file, or empties it, and writes all that precedes the tensors' bytes.
  /// The alignment is that of `general.alignment` where `metadata` has it, else 32.
  /// Throws InvalidArgument: a key, a name or a shape that a reader refuses; Io.
  GgufWriter(std::string path, const std::vector<GgufEntry>& metadata,
             std::vector<GgufTensorPlan> tensors);

  std::span<const GgufTensorPlan> plan() const { return plan_; }

  /// The next tensor of the plan. `bytes`: its blocks, exactly plan.bytes().
  /// Throws InvalidArgument: another tensor or size is due; Io.
  void write(std::string_view name, std::span<const std::byte> bytes);

  /// Syncs to disk. Nothing may be written afterwards. Throws InvalidArgument where tensors are
  /// missing; Io; OutputCheck where the file has another size than planned.
  void finish();

 private:
  void append(const void* data, uint64_t bytes);
  void pad();

  std::string path_;
  std::vector<GgufTensorPlan> plan_;
  uint64_t alignment_ = 32;
  uint64_t at_ = 0;  // bytes written
  size_t next_ = 0;  // in plan_
  bool finished_ = false;
  Descriptor file_;
};

}  // namespace prunus
