#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "prunus/io/safetensors.h"

namespace prunus {

/// What every reader accepts of a header, in bytes.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

/// Reads and checks the header of a safetensors file (layout: see SafetensorsFile).
/// `file` is the whole file; `where` names it in messages. Returns the tensors in file order with
/// absolute offsets, all of them inside the file.
/// Cost: one pass over the JSON without building a tree; nothing is allocated in proportion to a
/// size that the file only claims.
/// Throws Corrupt.
/// Source: huggingface/safetensors, tensor.rs, read_metadata and Metadata::validate.
/// Differs: also refuses unknown fields of an entry, more than 64 dimensions, and shapes whose
/// non-zero sizes multiply beyond 2^63 - 1 even where another size is 0.
std::vector<TensorEntry> parse_safetensors_header(std::span<const std::byte> file,
                                                  const std::string& where);

}  // namespace prunus
