#pragma once
#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace prunus {

/// Keys and values of earlier positions of one layer, [batch, kv_heads, seq, head_dim].
/// Views of memory with room for more, which doubles when it is full (joining them anew at every
/// step of a generation copied each position as often as others follow); so for use without
/// gradients.
struct LayerCache {
  at::Tensor keys;
  at::Tensor values;
  at::Tensor key_room;
  at::Tensor value_room;
  /// What both are kept in; without one, the type in which they come.
  std::optional<at::ScalarType> dtype = std::nullopt;

  int64_t length() const { return keys.defined() ? keys.size(2) : 0; }
  /// Puts those of further positions, of the same shape but for their number, behind them.
  void append(const at::Tensor& more_keys, const at::Tensor& more_values);
  /// Adds `count` positions that are yet to be written. Not to an empty cache.
  void extend(int64_t count);
};

}  // namespace prunus
