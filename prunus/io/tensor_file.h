#pragma once
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace prunus {

/// Tensors as a file: magic, JSON header with dtype and shape of each, then their bytes.
/// save_tensors writes under a temporary name and renames. Throws Io.
void save_tensors(const std::string& path, const std::vector<at::Tensor>& tensors);
/// Throws NotFound; Corrupt where magic, header or size are not what save_tensors writes.
std::vector<at::Tensor> load_tensors(const std::string& path);

/// save_tensors(), and when it returns the file is on the disk, name and all: to be used where
/// another file is to name it, or what it stands in for is removed next. `path` must not be a file
/// that is needed until then. Throws Io.
void save_durably(const std::string& path, const std::vector<at::Tensor>& tensors);

/// Flushes a file, or a directory's names, to the disk. Throws Io.
void flush_to_disk(const std::string& path);

}  // namespace prunus
