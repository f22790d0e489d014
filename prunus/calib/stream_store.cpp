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
#include "prunus/io/tensor_file.h"

namespace prunus {
namespace {

constexpr const char* kInstead = "give the store a folder of its own";

namespace fs = std::filesystem;

int64_t bytes_of(const std::vector<at::Tensor>& tensors) {
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

}  // namespace

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
