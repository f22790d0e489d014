#pragma once
#include <cstdint>
#include <fstream>
#include <string>

#include <ATen/core/Tensor.h>

namespace prunus {

/// What is kept of a model's distribution at some places: its k likeliest tokens and how much is
/// left. On the CPU.
struct TopK {
  at::Tensor ids;       ///< int32 [tokens, k], likeliest first
  at::Tensor log_p;     ///< FP32 [tokens, k]
  at::Tensor log_rest;  ///< FP32 [tokens]: log of what the other tokens have; −inf for k = vocab
  at::Tensor target_log_p;  ///< FP32 [tokens]: of the token that does come
  int64_t tokens() const { return ids.size(0); }
};

/// What such a file belongs to.
struct TopKKey {
  std::string hash;  ///< of everything that decides the content
  int64_t k = 0;
  int64_t tokens = 0;
};

// The file: a line of JSON ({"prunus_top_k": 1, "key", "k", "tokens"}), then blocks in the order of
// scoring: int64 number of tokens, the four tensors of TopK row-major and little-endian, 64
// characters SHA-256 of those. (8·k + 8) bytes a token.

/// Writes under a temporary name beside `path`; finish() gives it its name.
class TopKWriter {
 public:
  /// Throws Io.
  TopKWriter(std::string path, const TopKKey& key);
  /// Removes what was not finished.
  ~TopKWriter();
  TopKWriter(const TopKWriter&) = delete;
  TopKWriter& operator=(const TopKWriter&) = delete;
  void add(const TopK& block);
  void finish();

 private:
  std::string path_;
  std::string partial_;
  std::ofstream file_;
};

/// Reads a file block by block, in constant memory.
class TopKReader {
 public:
  /// Throws NotFound; Corrupt where this is no such file, or that of another key.
  TopKReader(std::string path, const TopKKey& key);
  /// Throws Corrupt where it ends early, or bytes or the number of tokens are not those expected.
  TopK next(int64_t tokens);

 private:
  std::string path_;
  int64_t k_;
  std::ifstream file_;
};

/// Throws InvalidArgument where `path` is there but no file of this kind.
void check_top_k(const std::string& path);

/// Whether `path` is there and of this key. Throws InvalidArgument where it is there but no file of
/// this kind, so that nothing else is overwritten.
bool holds_top_k(const std::string& path, const TopKKey& key);

}  // namespace prunus
