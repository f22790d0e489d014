#pragma once
#include <map>
#include <string>

namespace prunus {

/// Tensor name to shard file name, sorted by tensor name.
using WeightMap = std::map<std::string, std::string>;

/// Reads model.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor: file}}.
/// Every file name is a plain name ending in .safetensors: no directory, no "..". `metadata` and
/// unknown fields are ignored (published files disagree on total_size).
/// Throws NotFound, Io; Corrupt on anything else, on duplicate keys, on more than 100 MB.
WeightMap read_safetensors_index(const std::string& path);

/// The text of an index, as the reference writer formats it: two-space indent, final newline.
/// `total_size_bytes` is the sum of all tensors' bytes. Names must be valid UTF-8.
std::string safetensors_index_text(const WeightMap& weight_map, uint64_t total_size_bytes);

}  // namespace prunus
