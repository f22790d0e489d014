#include "prunus/io/tensor_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <unistd.h>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/base/json.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "PRUNUS-TENSORS-1";
constexpr uint64_t kMaxTensorHeaderBytes = uint64_t{64} << 20;
constexpr std::pair<std::string_view, at::ScalarType> kTensorDtypes[] = {
    {"F32", at::kFloat}, {"F64", at::kDouble}, {"I64", at::kLong}, {"U8", at::kByte}};

std::string_view dtype_name(at::ScalarType dtype) {
  for (const auto& [name, type] : kTensorDtypes) {
    if (type == dtype) return name;
  }
  PRUNUS_FAIL(InvalidArgument, "cannot store tensors of dtype ", c10::toString(dtype));
}

at::ScalarType dtype_of(const std::string& name, const std::string& path) {
  for (const auto& [known, type] : kTensorDtypes) {
    if (known == name) return type;
  }
  PRUNUS_FAIL(Corrupt, path, ": unknown dtype '", name, "'");
}

int64_t bytes_of(const std::vector<at::Tensor>& tensors) {
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

// The shape that a header gives, if so many bytes can be in the file: it may be damaged.
std::vector<int64_t> shape_of(const Json& json, at::ScalarType dtype, uint64_t file_bytes,
                              const std::string& path) {
  PRUNUS_CHECK(json.is_array(), Corrupt, path, ": shape ", json.dump(), " is not a list");
  std::vector<int64_t> shape;
  std::optional<uint64_t> bytes = c10::elementSize(dtype);
  bool empty = false;
  for (const Json& size : json) {
    PRUNUS_CHECK(size.is_number_unsigned(), Corrupt, path, ": a shape holds ", size.dump());
    const auto count = size.get<uint64_t>();
    bytes = checked_mul(*bytes, std::max<uint64_t>(count, 1));
    PRUNUS_CHECK(bytes && *bytes <= uint64_t{1} << 62, Corrupt, path, ": shape ", json.dump(),
                 " is too large");
    empty = empty || count == 0;
    shape.push_back(static_cast<int64_t>(count));
  }
  PRUNUS_CHECK(empty || *bytes <= file_bytes, Corrupt, path, ": a tensor of shape ", json.dump(),
               " in a file of ", file_bytes, " bytes");
  return shape;
}

std::vector<at::Tensor> read_tensors(std::ifstream& file, const std::string& path) {
  const uint64_t file_bytes = fs::file_size(path);
  std::string magic(kMagic.size(), '\0');
  uint64_t header_bytes = 0;
  file.read(magic.data(), static_cast<std::streamsize>(magic.size()));
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes);
  PRUNUS_CHECK(file && magic == kMagic && header_bytes <= kMaxTensorHeaderBytes, Corrupt, path,
               ": not a tensor file of this program, or damaged");
  std::string text(header_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(header_bytes));
  PRUNUS_CHECK(file.good(), Corrupt, path, ": ends inside its header");
  std::vector<at::Tensor> tensors;
  for (const Json& one : parse_json(text, path)) {
    const at::ScalarType dtype = dtype_of(one.at("dtype").get<std::string>(), path);
    const std::vector<int64_t> shape = shape_of(one.at("shape"), dtype, file_bytes, path);
    at::Tensor tensor = at::empty(shape, dtype);
    file.read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
    PRUNUS_CHECK(file.good(), Corrupt, path, ": ends inside a tensor of shape ", shape);
    tensors.push_back(tensor);
  }
  PRUNUS_CHECK(file.peek() == std::ifstream::traits_type::eof(), Corrupt, path,
               ": has bytes after its last tensor");
  return tensors;
}

}  // namespace

void save_tensors(const std::string& path, const std::vector<at::Tensor>& tensors) {
  Json header = Json::array();
  for (const at::Tensor& tensor : tensors) {
    header.push_back(
        {{"dtype", dtype_name(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}});
  }
  const std::string text = header.dump();
  const uint64_t header_bytes = text.size();
  const std::string temporary = path + ".partial";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(kMagic.data(), kMagic.size());
  file.write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const at::Tensor& tensor : tensors) {
    const at::Tensor plain = tensor.cpu().contiguous();
    file.write(static_cast<const char*>(plain.const_data_ptr()),
               static_cast<std::streamsize>(plain.nbytes()));
  }
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  if (!file || error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    PRUNUS_FAIL(Io, path, ": cannot write ", bytes_of(tensors), " bytes; disk full?");
  }
}

std::vector<at::Tensor> load_tensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  PRUNUS_CHECK(file.is_open(), NotFound, path, ": cannot open");
  try {
    return read_tensors(file, path);
  } catch (const nlohmann::json::exception& error) {
    PRUNUS_FAIL(Corrupt, path, ": damaged header: ", error.what());
  }
}

void flush_to_disk(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  PRUNUS_CHECK(file >= 0, Io, path, ": cannot open: ", std::strerror(errno));
  // Not every file system can flush a directory.
  const bool done = ::fsync(file) == 0 || errno == EINVAL || errno == EROFS;
  const int why = errno;
  ::close(file);
  PRUNUS_CHECK(done, Io, path, ": cannot flush to the disk: ", std::strerror(why));
}

void save_durably(const std::string& path, const std::vector<at::Tensor>& tensors) {
  save_tensors(path, tensors);
  flush_to_disk(path);
  flush_to_disk(std::filesystem::absolute(path).parent_path().string());
}

}  // namespace prunus
