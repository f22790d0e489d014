#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/io/gguf_header.h"
#include "prunus/io/mapped_file.h"

namespace prunus {

/// One GGUF file, version 3, little-endian: metadata and tensors. Checked completely when opened
/// and mapped, not read. Untrusted input. Layout and limits: docs/formats/gguf.md.
class GgufFile {
 public:
  /// Maps the file and checks it (parse_gguf_header). Cost: reads the header only.
  /// Throws NotFound, Io, Corrupt, Unsupported.
  static std::shared_ptr<GgufFile> open(const std::string& path);

  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::string& path() const { return map_.path(); }
  uint64_t size_bytes() const { return map_.size_bytes(); }

  /// Metadata by key, sorted. Values live as long as this object.
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return header_.metadata; }
  /// The value of `key`, or nullptr.
  const GgufValue* find_value(std::string_view key) const;
  /// The value of `key`. Throws NotFound naming key and file.
  const GgufValue& value(std::string_view key) const;

  /// All tensors in the file's own order.
  std::span<const GgufTensor> tensors() const { return header_.tensors; }
  /// The tensor called `name`, or nullptr.
  const GgufTensor* find(std::string_view name) const;

  /// Rows [begin, end) in FP32, dequantised block by block on libtorch's threads.
  /// Shapes: result, [end - begin, columns()], on the CPU. `tensor` must be one of tensors().
  /// Throws Unsupported for an element type that Prunus does not read.
  at::Tensor rows(const GgufTensor& tensor, int64_t begin, int64_t end) const;
  /// The whole tensor in FP32, of its own shape. Throws as rows().
  at::Tensor read(const GgufTensor& tensor) const;

  /// Starts reading the tensor's pages in the background.
  void prefetch(const GgufTensor& tensor) const { map_.prefetch(tensor.begin, tensor.end); }
  /// Gives the tensor's pages back; the next access reads them again.
  void discard(const GgufTensor& tensor) const { map_.discard(tensor.begin, tensor.end); }

 private:
  explicit GgufFile(MappedFile map);

  MappedFile map_;
  GgufHeader header_;
  std::map<std::string_view, size_t> by_name_;
};

/// Whether a path names a GGUF file: its name ends in ".gguf", and it is no directory.
bool is_gguf_path(const std::string& path);

}  // namespace prunus
