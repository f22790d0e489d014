#include "prunus/io/safetensors.h"

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/stand_in.h"
#include "prunus/io/safetensors_header.h"

namespace prunus {

int64_t TensorEntry::numel() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

std::shared_ptr<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  auto map = std::make_shared<const MappedFile>(MappedFile::open(path));
  const auto bytes = map->bytes().first(std::min<uint64_t>(map->size_bytes(), 128));
  check_no_stand_in({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  return std::shared_ptr<SafetensorsFile>(new SafetensorsFile(std::move(map)));
}

SafetensorsFile::SafetensorsFile(std::shared_ptr<const MappedFile> map)
    : map_(std::move(map)), entries_(parse_safetensors_header(map_->bytes(), map_->path())) {
  for (size_t i = 0; i < entries_.size(); ++i) by_name_.emplace(entries_[i].name, i);
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

at::Tensor SafetensorsFile::view(const TensorEntry& entry) const {
  PRUNUS_CHECK(entry.dtype != at::ScalarType::Undefined, Unsupported, path(), ": tensor '",
               entry.name, "' has dtype ", entry.dtype_name, ", which torch cannot represent");
  TORCH_INTERNAL_ASSERT(entry.begin <= entry.end && entry.end <= map_->size_bytes());
  const auto options = at::TensorOptions(entry.dtype);
  if (entry.bytes() == 0) return at::empty(entry.shape, options);
  const std::byte* address = map_->bytes().data() + entry.begin;
  // Complex numbers need the alignment of their halves only, but a copy is never wrong.
  if (entry.begin % c10::elementSize(entry.dtype) != 0) {
    auto copy = at::empty(entry.shape, options);
    std::memcpy(copy.mutable_data_ptr(), address, entry.bytes());
    return copy;
  }
  return at::from_blob(
      const_cast<std::byte*>(address), entry.shape, [keep_alive = map_](void*) {}, options);
}

}  // namespace prunus
