#include "prunus/model/layer_cache.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace prunus {
namespace {

// A view of `count` more places than `kept` has, in `room` or, where that is full, in more of it.
void lengthen(at::Tensor& kept, at::Tensor& room, int64_t count, const at::Tensor& like) {
  const int64_t past = kept.defined() ? kept.size(2) : 0;
  const int64_t length = past + count;
  if (!room.defined() || room.size(2) < length) {
    const int64_t places = std::max(length, 2 * past);
    room = at::empty({like.size(0), like.size(1), places, like.size(3)}, like.options());
    if (past > 0) room.narrow(2, 0, past).copy_(kept);
  }
  kept = room.narrow(2, 0, length);
}

void append_to(at::Tensor& kept, at::Tensor& room, const at::Tensor& given,
               std::optional<at::ScalarType> dtype) {
  const int64_t past = kept.defined() ? kept.size(2) : 0;
  const at::Tensor more = given.to(dtype.value_or(given.scalar_type()));
  lengthen(kept, room, more.size(2), more);
  room.narrow(2, past, more.size(2)).copy_(more);
}

}  // namespace

void LayerCache::append(const at::Tensor& more_keys, const at::Tensor& more_values) {
  append_to(keys, key_room, more_keys, dtype);
  append_to(values, value_room, more_values, dtype);
}

void LayerCache::extend(int64_t count) {
  TORCH_INTERNAL_ASSERT(keys.defined(), "LayerCache::extend: the cache is empty");
  lengthen(keys, key_room, count, at::Tensor(keys));
  lengthen(values, value_room, count, at::Tensor(values));
}

}  // namespace prunus
