#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/io/mapped_file.h"

namespace prunus {

/// Where one tensor lies in a safetensors file, and how to read it.
struct TensorEntry {
  std::string name;
  at::ScalarType dtype;        ///< Undefined where torch has no such type; see dtype_name
  std::string dtype_name;      ///< as in the file, e.g. "BF16", "F8_E4M3"
  std::vector<int64_t> shape;  ///< row-major; empty for a scalar; dimensions of size 0 are legal
  uint64_t begin = 0;          ///< absolute byte offset in the file
  uint64_t end = 0;            ///< one past the last byte, absolute

  uint64_t bytes() const { return end - begin; }
  /// Product of the shape; never overflows for an entry that came from a file.
  int64_t numel() const;
};

/// One safetensors file, checked completely when opened and mapped, not read. Untrusted input.
///
/// Layout: u64 little-endian N; N bytes of JSON, which may end in spaces; the tensors' bytes up to
/// the end of the file. JSON: {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin,
/// end]}, ..., "__metadata__": {string: string}}, offsets relative to the byte after the JSON.
/// Source: huggingface/safetensors, README and tensor.rs.
class SafetensorsFile {
 public:
  /// Maps the file and checks every rule of the format: sizes, JSON types, duplicate keys, element
  /// types, overflow, and that the tensors cover the data exactly once without holes.
  /// Element types that Prunus cannot use as weights are legal here; Checkpoint::read refuses them.
  /// Cost: reads the header only; memory in proportion to the header's true size.
  /// Throws NotFound, Io, Corrupt.
  static std::shared_ptr<SafetensorsFile> open(const std::string& path);

  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return map_->path(); }
  uint64_t size_bytes() const { return map_->size_bytes(); }
  /// All tensors in the order of their bytes in the file.
  std::span<const TensorEntry> entries() const { return entries_; }
  /// The tensor called `name`, or nullptr.
  const TensorEntry* find(std::string_view name) const;

  /// CPU tensor of the entry's shape in the file's dtype that shares the mapping and keeps it alive
  /// on its own. Read-only: writing into it crashes; clone first. A tensor whose bytes are not
  /// aligned for its dtype (older writers) is copied. `entry` must be one of entries().
  /// Throws Unsupported where torch has no such dtype.
  at::Tensor view(const TensorEntry& entry) const;

  /// Starts reading the tensor's pages in the background.
  void prefetch(const TensorEntry& entry) const { map_->prefetch(entry.begin, entry.end); }
  /// Gives the tensor's pages back; views stay valid and read the pages again when touched.
  void discard(const TensorEntry& entry) const { map_->discard(entry.begin, entry.end); }

 private:
  explicit SafetensorsFile(std::shared_ptr<const MappedFile> map);

  std::shared_ptr<const MappedFile> map_;
  std::vector<TensorEntry> entries_;
  std::map<std::string_view, size_t> by_name_;
};

}  // namespace prunus
