#pragma once
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace prunus {

/// save_tensors(), and when it returns the file is on the disk, name and all: to be used where
/// another file is to name it, or what it stands in for is removed next. `path` must not be a file
/// that is needed until then. Throws Io.
void save_durably(const std::string& path, const std::vector<at::Tensor>& tensors);

/// Flushes a file, or a directory's names, to the disk. Throws Io.
void flush_to_disk(const std::string& path);

}  // namespace prunus
