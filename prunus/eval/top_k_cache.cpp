#include "prunus/eval/top_k_cache.h"

#include <cstring>
#include <filesystem>
#include <unistd.h>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"

namespace prunus {
namespace {

constexpr std::string_view kBegin = "{\"prunus_top_k\":1,";
constexpr size_t kHashChars = 64;
constexpr size_t kMaxLine = 4096;

std::string first_line(const TopKKey& key) {
  const Json line = {{"prunus_top_k", 1}, {"key", key.hash}, {"k", key.k}, {"tokens", key.tokens}};
  return line.dump() + '\n';
}

void append(std::string& bytes, const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  bytes.append(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
}

// The next tensor of a block, copied out of its bytes.
at::Tensor take(const char*& bytes, at::IntArrayRef shape, at::ScalarType dtype) {
  at::Tensor tensor = at::empty(shape, dtype);
  std::memcpy(tensor.data_ptr(), bytes, tensor.nbytes());
  bytes += tensor.nbytes();
  return tensor;
}

std::string read_first_line(std::ifstream& file) {
  std::string line;
  for (char c = 0; line.size() < kMaxLine && file.get(c);) {
    line += c;
    if (c == '\n') break;
  }
  return line;
}

}  // namespace

TopKWriter::TopKWriter(std::string path, const TopKKey& key)
    : path_(std::move(path)),
      partial_(c10::str(path_, ".partial-", ::getpid())),
      file_(partial_, std::ios::binary | std::ios::trunc) {
  file_ << first_line(key);
  PRUNUS_CHECK(file_, Io, partial_, ": cannot write");
}

TopKWriter::~TopKWriter() {
  std::error_code ignored;
  std::filesystem::remove(partial_, ignored);
}

void TopKWriter::add(const TopK& block) {
  const int64_t tokens = block.tokens();
  std::string bytes(reinterpret_cast<const char*>(&tokens), sizeof tokens);
  for (const at::Tensor* part : {&block.ids, &block.log_p, &block.log_rest, &block.target_log_p}) {
    append(bytes, *part);
  }
  file_ << bytes << sha256(bytes);
  PRUNUS_CHECK(file_, Io, partial_, ": cannot write; disk full?");
}

void TopKWriter::finish() {
  file_.close();
  std::error_code error;
  if (file_) std::filesystem::rename(partial_, path_, error);
  PRUNUS_CHECK(file_ && !error, Io, path_, ": cannot write; disk full?");
}

TopKReader::TopKReader(std::string path, const TopKKey& key)
    : path_(std::move(path)), k_(key.k), file_(path_, std::ios::binary) {
  PRUNUS_CHECK(file_, NotFound, path_, ": cannot open");
  PRUNUS_CHECK(read_first_line(file_) == first_line(key), Corrupt, path_,
               ": is not the cache of this text, model and number of tokens kept");
}

TopK TopKReader::next(int64_t tokens) {
  const auto rows = static_cast<size_t>(tokens);
  const size_t size = sizeof tokens + rows * (static_cast<size_t>(k_) * 8 + 8);
  std::string bytes(size, '\0');
  std::string hash(kHashChars, '\0');
  file_.read(bytes.data(), static_cast<std::streamsize>(size));
  file_.read(hash.data(), kHashChars);
  int64_t stored = 0;
  std::memcpy(&stored, bytes.data(), sizeof stored);
  PRUNUS_CHECK(file_ && stored == tokens && sha256(bytes) == hash, Corrupt, path_, ": a block of ",
               tokens, " tokens is damaged or missing; delete the file");
  const char* at = bytes.data() + sizeof stored;
  TopK block;
  block.ids = take(at, {tokens, k_}, at::kInt);
  block.log_p = take(at, {tokens, k_}, at::kFloat);
  block.log_rest = take(at, {tokens}, at::kFloat);
  block.target_log_p = take(at, {tokens}, at::kFloat);
  return block;
}

void check_top_k(const std::string& path) {
  if (!std::filesystem::exists(path)) return;
  std::ifstream file(path, std::ios::binary);
  PRUNUS_CHECK(read_first_line(file).starts_with(kBegin), InvalidArgument, path,
               ": exists and is no file of dense logits; choose another name");
}

bool holds_top_k(const std::string& path, const TopKKey& key) {
  if (!std::filesystem::exists(path)) return false;
  check_top_k(path);
  std::ifstream file(path, std::ios::binary);
  return read_first_line(file) == first_line(key);
}

}  // namespace prunus
