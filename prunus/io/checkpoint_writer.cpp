#include "prunus/io/checkpoint_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/io/quote.h"
#include "prunus/io/safetensors_dtype.h"
#include "prunus/io/safetensors_header.h"
#include "prunus/io/safetensors_index.h"

namespace prunus {
namespace {

// Row of the format's table; its address orders types as the reference writer does.
const SafetensorsDtype& dtype_row(at::ScalarType type) {
  for (const auto& dtype : safetensors_dtypes()) {
    if (dtype.type == type) return dtype;
  }
  PRUNUS_FAIL(InvalidArgument, "safetensors has no dtype ", type);
}

uint64_t planned_bytes(const TensorPlan& plan) {
  bool empty = false;
  std::optional<uint64_t> bytes = c10::elementSize(plan.dtype);
  for (const int64_t size : plan.shape) {
    PRUNUS_CHECK(size >= 0, InvalidArgument, "tensor ", quote(plan.name), " has shape ",
                 at::IntArrayRef(plan.shape), ", expected no negative size");
    empty = empty || size == 0;
    bytes = checked_mul(*bytes, static_cast<uint64_t>(std::max<int64_t>(size, 1)));
    PRUNUS_CHECK(bytes && *bytes <= std::numeric_limits<int64_t>::max(), InvalidArgument, "tensor ",
                 quote(plan.name), " has shape ", at::IntArrayRef(plan.shape), ", which overflows");
  }
  return empty ? 0 : *bytes;
}

// JSON string literal.
std::string literal(const std::string& name) {
  try {
    return Json(name).dump();
  } catch (const Json::exception&) {
    PRUNUS_FAIL(InvalidArgument, "tensor ", quote(name), ": the name is not valid UTF-8");
  }
}

void check_plan(const std::vector<TensorPlan>& plans) {
  std::set<std::string_view> names;
  for (const auto& plan : plans) {
    PRUNUS_CHECK(plan.name != "__metadata__", InvalidArgument,
                 "'__metadata__' cannot be the name of a tensor");
    PRUNUS_CHECK(names.insert(plan.name).second, InvalidArgument, "tensor ", quote(plan.name),
                 " is planned twice");
    const bool other =
        plan.dtype == at::kLong || plan.dtype == at::kByte || plan.dtype == at::kChar;
    PRUNUS_CHECK(is_weight_dtype(plan.dtype) || other, InvalidArgument, "tensor ", quote(plan.name),
                 " has dtype ", plan.dtype, ", expected Float, Half, BFloat16, Long, Byte or Char");
  }
}

void write_at(const Descriptor& file, const void* data, uint64_t bytes, uint64_t offset,
              const std::string& path) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(file.fd(), from, bytes, static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    PRUNUS_CHECK(wrote > 0, Io, path, ": cannot write ", bytes, " bytes at byte ", offset, ": ",
                 std::strerror(errno));
    from += wrote;
    bytes -= static_cast<uint64_t>(wrote);
    offset += static_cast<uint64_t>(wrote);
  }
}

std::string little_endian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xFF);
  return bytes;
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::string dir, std::vector<TensorPlan> tensors,
                                   uint64_t max_shard_bytes, std::string stem)
    : dir_(std::move(dir)),
      stem_(std::move(stem)),
      order_(std::move(tensors)),
      offsets_(order_.size()) {
  check_plan(order_);
  assign_shards(max_shard_bytes);
  for (auto& shard : shards_) lay_out(shard);
  name_shards();
}

void CheckpointWriter::assign_shards(uint64_t max_shard_bytes) {
  shards_.push_back({"", "", 0, 0, 0});
  uint64_t filled = 0;
  for (size_t i = 0; i < order_.size(); ++i) {
    const uint64_t bytes = planned_bytes(order_[i]);
    const auto sum = checked_add(filled, bytes);
    if (shards_.back().last > shards_.back().first && (!sum || *sum > max_shard_bytes)) {
      shards_.push_back({"", "", i, i, 0});
      filled = 0;
    }
    filled += bytes;
    shards_.back().last = i + 1;
    total_bytes_ += bytes;
  }
}

void CheckpointWriter::lay_out(Shard& shard) {
  const auto at = [this](size_t i) { return order_.begin() + static_cast<ptrdiff_t>(i); };
  std::sort(at(shard.first), at(shard.last), [](const TensorPlan& a, const TensorPlan& b) {
    const auto& left = dtype_row(a.dtype);
    const auto& right = dtype_row(b.dtype);
    return &left == &right ? a.name < b.name : &left > &right;
  });
  std::string json = R"({"__metadata__":{"format":"pt"})";
  uint64_t end = 0;
  for (size_t i = shard.first; i < shard.last; ++i) {
    const auto& plan = order_[i];
    offsets_[i] = end;
    end += planned_bytes(plan);
    json += c10::str(",", literal(plan.name), R"(:{"dtype":")", dtype_row(plan.dtype).name,
                     R"(","shape":[)", c10::Join(",", plan.shape), R"(],"data_offsets":[)",
                     offsets_[i], ",", end, "]}");
  }
  json += '}';
  json.append((8 - json.size() % 8) % 8, ' ');
  PRUNUS_CHECK(json.size() <= kMaxSafetensorsHeaderBytes, InvalidArgument, dir_, ": a header of ",
               json.size(), " bytes, readers accept at most ", kMaxSafetensorsHeaderBytes);
  shard.header = little_endian(json.size()) + json;
  for (size_t i = shard.first; i < shard.last; ++i) offsets_[i] += shard.header.size();
  shard.size_bytes = shard.header.size() + end;
}

void CheckpointWriter::name_shards() {
  if (shards_.size() == 1) {
    shards_[0].file_name = stem_ + ".safetensors";
    return;
  }
  for (size_t i = 0; i < shards_.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "-%05zu-of-%05zu.safetensors", i + 1, shards_.size());
    shards_[i].file_name = stem_ + name;
  }
}

std::string CheckpointWriter::path_of(const Shard& shard) const {
  return dir_ + "/" + shard.file_name;
}

void CheckpointWriter::open_shard() {
  const auto& shard = shards_[shard_];
  const std::string path = path_of(shard);
  if (!file_) {
    file_ = Descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    PRUNUS_CHECK(file_, Io, path, ": cannot create: ", std::strerror(errno));
  }
  if (next_ == shard.first) write_at(file_, shard.header.data(), shard.header.size(), 0, path);
}

void CheckpointWriter::close_shard() {
  const auto& shard = shards_[shard_];
  const std::string path = path_of(shard);
  PRUNUS_CHECK(::fsync(file_.fd()) == 0, Io, path, ": cannot sync: ", std::strerror(errno));
  struct stat info {};
  PRUNUS_CHECK(::fstat(file_.fd(), &info) == 0, Io, path, ": cannot stat: ", std::strerror(errno));
  PRUNUS_CHECK(static_cast<uint64_t>(info.st_size) == shard.size_bytes, OutputCheck, path, ": has ",
               info.st_size, " bytes after writing, expected ", shard.size_bytes);
  file_ = Descriptor();
  ++shard_;
}

void CheckpointWriter::write(std::string_view name, const at::Tensor& tensor) {
  PRUNUS_CHECK(next_ < order_.size(), InvalidArgument, dir_, ": tensor ", quote(name),
               " comes after the last planned one");
  const auto& plan = order_[next_];
  PRUNUS_CHECK(plan.name == name, InvalidArgument, dir_, ": got tensor ", quote(name),
               ", expected ", quote(plan.name), " (see CheckpointWriter::order)");
  PRUNUS_CHECK(tensor.defined() && tensor.device().is_cpu() && tensor.layout() == at::kStrided &&
                   tensor.is_contiguous(),
               InvalidArgument, "tensor ", quote(name), " must be contiguous on the CPU");
  PRUNUS_CHECK(tensor.scalar_type() == plan.dtype && tensor.sizes() == plan.shape, InvalidArgument,
               "tensor ", quote(name), " is ", tensor.scalar_type(), " ", tensor.sizes(),
               ", planned was ", plan.dtype, " ", at::IntArrayRef(plan.shape));
  open_shard();
  const auto& shard = shards_[shard_];
  write_at(file_, tensor.const_data_ptr(), tensor.nbytes(), offsets_[next_], path_of(shard));
  if (next_ + 1 == shard.last) close_shard();
  ++next_;
}

void CheckpointWriter::finish() {
  PRUNUS_CHECK(!finished_, InvalidArgument, dir_, ": finished already");
  PRUNUS_CHECK(next_ == order_.size(), InvalidArgument, dir_, ": tensor ",
               quote(order_[next_].name), " and ", order_.size() - next_ - 1,
               " after it were not written");
  if (order_.empty()) {
    open_shard();
    close_shard();
  }
  if (shards_.size() > 1) {
    WeightMap weight_map;
    for (const auto& shard : shards_) {
      for (size_t i = shard.first; i < shard.last; ++i) {
        weight_map[order_[i].name] = shard.file_name;
      }
    }
    write_file(dir_ + "/" + stem_ + ".safetensors.index.json",
               safetensors_index_text(weight_map, total_bytes_));
  }
  const Descriptor folder(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  PRUNUS_CHECK(folder && ::fsync(folder.fd()) == 0, Io, dir_,
               ": cannot sync the directory: ", std::strerror(errno));
  finished_ = true;
}

}  // namespace prunus
