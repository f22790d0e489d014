#include "prunus/io/gguf.h"

#include <algorithm>
#include <filesystem>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/stand_in.h"
#include "prunus/io/quote.h"

namespace prunus {

bool is_gguf_path(const std::string& path) {
  std::error_code ignored;
  return path.ends_with(".gguf") && !std::filesystem::is_directory(path, ignored);
}

std::shared_ptr<GgufFile> GgufFile::open(const std::string& path) {
  auto map = MappedFile::open(path);
  const auto bytes = map.bytes().first(std::min<uint64_t>(map.size_bytes(), 128));
  check_no_stand_in({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  return std::shared_ptr<GgufFile>(new GgufFile(std::move(map)));
}

GgufFile::GgufFile(MappedFile map)
    : map_(std::move(map)), header_(parse_gguf_header(map_.bytes(), map_.path())) {
  for (size_t i = 0; i < header_.tensors.size(); ++i) by_name_.emplace(header_.tensors[i].name, i);
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto found = header_.metadata.find(key);
  return found == header_.metadata.end() ? nullptr : &found->second;
}

const GgufValue& GgufFile::value(std::string_view key) const {
  const GgufValue* found = find_value(key);
  PRUNUS_CHECK(found != nullptr, NotFound, path(), ": has no metadata ", quote(key));
  return *found;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.tensors[found->second];
}

at::Tensor GgufFile::rows(const GgufTensor& tensor, int64_t begin, int64_t end) const {
  TORCH_INTERNAL_ASSERT(0 <= begin && begin <= end && end <= tensor.rows());
  TORCH_INTERNAL_ASSERT(tensor.end <= size_bytes());
  const GgufBlockType& type = *tensor.type;
  PRUNUS_CHECK(type.dequantize != nullptr, Unsupported, path(), ": tensor ", quote(tensor.name),
               " has the type ", type.name, "; Prunus reads ", readable_gguf_types());
  const int64_t columns = tensor.columns();
  auto values = at::empty({end - begin, columns}, at::kFloat);
  if (values.numel() == 0) return values;
  const int64_t row_bytes = columns / type.elements * type.bytes;
  dequantize_gguf_rows(type, map_.bytes().data() + tensor.begin + begin * row_bytes, end - begin,
                       columns, values.mutable_data_ptr<float>());
  return values;
}

at::Tensor GgufFile::read(const GgufTensor& tensor) const {
  return rows(tensor, 0, tensor.rows()).view(tensor.shape);
}

}  // namespace prunus
