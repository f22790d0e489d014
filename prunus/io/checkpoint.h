#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/io/safetensors.h"

namespace prunus {

/// The weights of a Hugging Face directory: model.safetensors, or, where there is none,
/// model.safetensors.index.json and its shards. Opening maps and checks every file but reads no
/// tensor. Untrusted input.
class Checkpoint {
 public:
  /// Throws NotFound where the directory, the weights or a shard is missing; Corrupt where a file
  /// breaks its format, a shard's name leaves the directory, a tensor is stored twice, or in
  /// another shard than the index says; Io. Names in the index of tensors that no shard holds are a
  /// warning.
  static Checkpoint open(const std::string& dir);

  const std::string& dir() const { return dir_; }
  /// All tensor names, sorted.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  /// Throws NotFound naming the tensor and the directory.
  const TensorEntry& entry(std::string_view name) const;

  /// CPU tensor in the file's dtype: F32, F16 or BF16. Shares the mapping and keeps it alive, even
  /// beyond the checkpoint; read-only (see SafetensorsFile::view).
  /// Throws NotFound; Unsupported for any other dtype, naming tensor and dtype.
  at::Tensor read(std::string_view name) const;

  /// As read(), of any dtype that torch has: for who knows what to make of 8 bits.
  /// Throws NotFound; Unsupported where torch has no such dtype.
  at::Tensor read_stored(std::string_view name) const;

  /// Starts reading the tensor's pages in the background. Throws NotFound.
  void prefetch(std::string_view name) const;
  /// Gives the tensor's pages back to the operating system; tensors from read() stay valid.
  /// Throws NotFound.
  void release(std::string_view name) const;

  /// Sum of all tensors' bytes.
  uint64_t total_bytes() const;
  /// Paths of the weight files, sorted.
  std::vector<std::string> files() const;

 private:
  struct Place {
    const SafetensorsFile* file;  // owned by files_
    const TensorEntry* entry;     // owned by *file
  };

  Checkpoint() = default;
  void add(std::shared_ptr<SafetensorsFile> file);
  const Place& place(std::string_view name) const;

  std::string dir_;
  std::vector<std::shared_ptr<SafetensorsFile>> files_;  // sorted by path
  std::map<std::string_view, Place> tensors_;            // keys live in the entries
};

}  // namespace prunus
