#include "prunus/io/gguf_writer.h"

#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <optional>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include <c10/util/StringUtil.h>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/io/gguf_header.h"
#include "prunus/io/little_endian.h"
#include "prunus/io/quote.h"

namespace prunus {
namespace {

constexpr size_t kMaxWrittenName = 63;  // llama.cpp's 64 with a zero at the end

void append_text(std::string& bytes, std::string_view text) {
  append_little(bytes, uint64_t{text.size()});
  bytes += text;
}

void check_tensor(const GgufTensorPlan& tensor) {
  PRUNUS_CHECK(!tensor.name.empty() && tensor.name.size() <= kMaxWrittenName, InvalidArgument,
               "tensor ", quote(tensor.name), ": the name has ", tensor.name.size(),
               " bytes, expected 1 to ", kMaxWrittenName);
  PRUNUS_CHECK(tensor.type != nullptr, InvalidArgument, "tensor ", quote(tensor.name),
               " has no type");
  PRUNUS_CHECK(tensor.shape.size() <= kMaxGgufRank, InvalidArgument, "tensor ", quote(tensor.name),
               " has ", tensor.shape.size(), " dimensions, GGUF holds at most ", kMaxGgufRank);
  std::optional<uint64_t> values = 1;
  for (const int64_t size : tensor.shape) {
    PRUNUS_CHECK(size > 0, InvalidArgument, "tensor ", quote(tensor.name), " has the sizes [",
                 c10::Join(", ", tensor.shape), "], expected positive ones");
    values = checked_mul(*values, static_cast<uint64_t>(size));
    PRUNUS_CHECK(values && *values <= std::numeric_limits<int64_t>::max() / 8, InvalidArgument,
                 "tensor ", quote(tensor.name), " has the sizes [", c10::Join(", ", tensor.shape),
                 "], which overflow");
  }
  PRUNUS_CHECK(tensor.columns() % tensor.type->elements == 0, InvalidArgument, "tensor ",
               quote(tensor.name), " has rows of ", tensor.columns(),
               " values, expected a multiple of ", tensor.type->elements, ", the block of ",
               tensor.type->name);
}

void check_plan(const std::vector<GgufTensorPlan>& plan) {
  std::set<std::string_view> names;
  for (const GgufTensorPlan& tensor : plan) {
    check_tensor(tensor);
    PRUNUS_CHECK(names.insert(tensor.name).second, InvalidArgument, "tensor ", quote(tensor.name),
                 " is planned twice");
  }
}

uint64_t padded(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

void check_keys(const std::vector<GgufEntry>& metadata) {
  std::set<std::string_view> keys;
  for (const GgufEntry& entry : metadata) {
    PRUNUS_CHECK(!entry.key().empty() && entry.key().size() <= kMaxGgufKeyBytes, InvalidArgument,
                 "metadata ", quote(entry.key()), ": the key has ", entry.key().size(),
                 " bytes, expected 1 to ", kMaxGgufKeyBytes);
    PRUNUS_CHECK(keys.insert(entry.key()).second, InvalidArgument, "metadata ", quote(entry.key()),
                 " is given twice");
  }
}

// What a reader will make of "general.alignment".
uint64_t alignment_of(const std::vector<GgufEntry>& metadata) {
  for (const GgufEntry& entry : metadata) {
    if (entry.key() != "general.alignment") continue;
    const bool u32 = !entry.is_array() && entry.type() == GgufValueType::U32;
    const auto alignment = u32 ? static_cast<uint64_t>(entry.value().integer()) : 0;
    PRUNUS_CHECK(std::has_single_bit(alignment) && alignment >= 8, InvalidArgument,
                 "metadata 'general.alignment' must be a uint32, a power of two of at least 8");
    return alignment;
  }
  return 32;
}

void append_entry(std::string& bytes, const GgufEntry& entry) {
  append_text(bytes, entry.key());
  if (entry.is_array()) append_little(bytes, static_cast<uint32_t>(GgufValueType::Array));
  append_little(bytes, static_cast<uint32_t>(entry.type()));
  if (entry.is_array()) append_little(bytes, entry.count());
  bytes += entry.bytes();
}

std::string header_bytes(const std::vector<GgufEntry>& metadata,
                         const std::vector<GgufTensorPlan>& plan, uint64_t alignment) {
  std::string bytes = "GGUF";
  append_little(bytes, kGgufVersion);
  append_little(bytes, uint64_t{plan.size()});
  append_little(bytes, uint64_t{metadata.size()});
  for (const GgufEntry& entry : metadata) append_entry(bytes, entry);
  uint64_t offset = 0;
  for (const GgufTensorPlan& tensor : plan) {
    append_text(bytes, tensor.name);
    append_little(bytes, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      append_little(bytes, static_cast<uint64_t>(*size));
    }
    append_little(bytes, tensor.type->id);
    append_little(bytes, offset);
    offset += padded(tensor.bytes(), alignment);
  }
  return bytes;
}

}  // namespace

int64_t GgufTensorPlan::rows() const {
  int64_t product = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

uint64_t GgufTensorPlan::bytes() const {
  return static_cast<uint64_t>(rows() * (columns() / type->elements) * type->bytes);
}

GgufWriter::GgufWriter(std::string path, const std::vector<GgufEntry>& metadata,
                       std::vector<GgufTensorPlan> tensors)
    : path_(std::move(path)), plan_(std::move(tensors)), alignment_(alignment_of(metadata)) {
  check_keys(metadata);
  check_plan(plan_);
  file_ = Descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  PRUNUS_CHECK(file_, Io, path_, ": cannot create: ", std::strerror(errno));
  const std::string header = header_bytes(metadata, plan_, alignment_);
  append(header.data(), header.size());
  pad();
}

void GgufWriter::append(const void* data, uint64_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(file_.fd(), from, bytes, static_cast<off_t>(at_));
    if (wrote < 0 && errno == EINTR) continue;
    PRUNUS_CHECK(wrote > 0, Io, path_, ": cannot write ", bytes, " bytes at byte ", at_, ": ",
                 std::strerror(errno));
    from += wrote;
    bytes -= static_cast<uint64_t>(wrote);
    at_ += static_cast<uint64_t>(wrote);
  }
}

void GgufWriter::pad() {
  const std::string zeros(padded(at_, alignment_) - at_, '\0');
  append(zeros.data(), zeros.size());
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  PRUNUS_CHECK(next_ < plan_.size(), InvalidArgument, path_, ": tensor ", quote(name),
               " comes after the last planned one");
  const GgufTensorPlan& plan = plan_[next_];
  PRUNUS_CHECK(plan.name == name, InvalidArgument, path_, ": got tensor ", quote(name),
               ", expected ", quote(plan.name));
  PRUNUS_CHECK(plan.bytes() == bytes.size(), InvalidArgument, path_, ": tensor ", quote(name),
               " has ", bytes.size(), " bytes, planned were ", plan.bytes());
  append(bytes.data(), bytes.size());
  pad();
  ++next_;
}

void GgufWriter::finish() {
  PRUNUS_CHECK(!finished_, InvalidArgument, path_, ": finished already");
  PRUNUS_CHECK(next_ == plan_.size(), InvalidArgument, path_, ": tensor ", quote(plan_[next_].name),
               " and ", plan_.size() - next_ - 1, " after it were not written");
  PRUNUS_CHECK(::fsync(file_.fd()) == 0, Io, path_, ": cannot sync: ", std::strerror(errno));
  struct stat info {};
  PRUNUS_CHECK(::fstat(file_.fd(), &info) == 0, Io, path_, ": cannot stat: ", std::strerror(errno));
  PRUNUS_CHECK(static_cast<uint64_t>(info.st_size) == at_, OutputCheck, path_, ": has ",
               info.st_size, " bytes after writing, expected ", at_);
  file_ = Descriptor();
  finished_ = true;
}

}  // namespace prunus
