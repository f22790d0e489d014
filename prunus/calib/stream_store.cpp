#include "prunus/calib/stream_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/base/temporary.h"
#include "prunus/calib/host_states.h"

namespace prunus {
namespace {

constexpr const char* kInstead = "give the store a folder of its own";

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "PRUNUS-TENSORS-1";
constexpr uint64_t kMaxHeaderBytes = uint64_t{64} << 20;
constexpr std::pair<std::string_view, at::ScalarType> kDtypes[] = {
    {"F32", at::kFloat}, {"F64", at::kDouble}, {"I64", at::kLong}};

std::string_view dtype_name(at::ScalarType dtype) {
  for (const auto& [name, type] : kDtypes) {
    if (type == dtype) return name;
  }
  PRUNUS_FAIL(InvalidArgument, "cannot store tensors of dtype ", c10::toString(dtype));
}

at::ScalarType dtype_of(const std::string& name, const std::string& path) {
  for (const auto& [known, type] : kDtypes) {
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
  PRUNUS_CHECK(file && magic == kMagic && header_bytes <= kMaxHeaderBytes, Corrupt, path,
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

StreamStore::StreamStore(Options options) : options_(std::move(options)) {
  if (options_.ram_bytes < 0) {
    options_.ram_bytes = static_cast<int64_t>(available_memory_bytes() / 2);
  }
  if (!options_.dir.empty()) fs::create_directories(options_.dir);
  TORCH_INTERNAL_ASSERT(!options_.resumable || !options_.dir.empty());
}

StreamStore::~StreamStore() {
  std::error_code ignored;
  if (temporary_) fs::remove_all(options_.dir, ignored);
}

std::string StreamStore::path(const std::string& name) const {
  return options_.dir + "/" + name + ".tensors";
}

void StreamStore::write(const std::string& name, const std::vector<at::Tensor>& tensors) {
  if (options_.dir.empty()) {
    std::string pattern = temporary_folder(kInstead) + "/prunus-spill-XXXXXX";
    PRUNUS_CHECK(::mkdtemp(pattern.data()) != nullptr, Io, pattern, ": cannot create directory");
    options_.dir = pattern;
    temporary_ = true;
  }
  save_tensors(path(name), tensors);
}

void StreamStore::put(const std::string& name, const std::vector<at::Tensor>& tensors) {
  drop(name);
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) bytes += host_bytes(tensor);
  const bool fits = held_bytes_ + bytes <= options_.ram_bytes;
  if (fits) {
    Held& held = held_[name];
    for (const at::Tensor& tensor : tensors) held.tensors.push_back(to_host(tensor));
    held.bytes = bytes;
    held_bytes_ += bytes;
  }
  if (!fits && spilled_bytes_ == 0) {
    log_info(c10::str("hidden states exceed --ram; spilling to ",
                      options_.dir.empty() ? temporary_folder(kInstead) : options_.dir));
  }
  if (!fits) spilled_bytes_ += bytes_of(tensors);
  if (!fits || options_.resumable) write(name, tensors);
}

std::vector<at::Tensor> StreamStore::get(const std::string& name, at::Device device) const {
  const auto found = held_.find(name);
  std::vector<at::Tensor> tensors =
      found != held_.end() ? found->second.tensors : load_tensors(path(name));
  for (at::Tensor& tensor : tensors) tensor = tensor.to(device);
  return tensors;
}

bool StreamStore::has(const std::string& name) const {
  std::error_code ignored;
  return held_.contains(name) || (!options_.dir.empty() && fs::exists(path(name), ignored));
}

void StreamStore::drop(const std::string& name) {
  const auto found = held_.find(name);
  if (found != held_.end()) {
    held_bytes_ -= found->second.bytes;
    held_.erase(found);
  }
  std::error_code ignored;
  if (!options_.dir.empty()) fs::remove(path(name), ignored);
}

void StreamStore::record(const std::string& name, const std::vector<at::Tensor>& tensors) {
  if (options_.resumable) write(name, tensors);
}

std::vector<int64_t> StreamStore::numbers(const std::string& prefix) const {
  std::vector<int64_t> found;
  if (!options_.resumable) return found;
  for (const auto& entry : fs::directory_iterator(options_.dir)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(".tensors")) continue;
    int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, number);
    const bool whole = parsed.ec == std::errc() && std::string_view(parsed.ptr) == ".tensors";
    if (whole) found.push_back(number);
  }
  return found;
}

std::optional<int64_t> StreamStore::last(const std::string& prefix) const {
  const std::vector<int64_t> found = numbers(prefix);
  if (found.empty()) return std::nullopt;
  return *std::max_element(found.begin(), found.end());
}

std::optional<int64_t> StreamStore::first(const std::string& prefix) const {
  const std::vector<int64_t> found = numbers(prefix);
  if (found.empty()) return std::nullopt;
  return *std::min_element(found.begin(), found.end());
}

}  // namespace prunus
