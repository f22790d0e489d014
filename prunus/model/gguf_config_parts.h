#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/io/gguf.h"
#include "prunus/model/family.h"
#include "prunus/model/gguf_config.h"

namespace prunus {

// The parts of gguf_config() and gguf_settings().

/// The metadata of a file under its architecture's name. Keys that nobody asked for are left over.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string_view architecture);

  const GgufFile& file() const { return *file_; }
  /// "FILE: 'llama.block_count'", for messages.
  std::string place(std::string_view key) const;

  bool has(std::string_view key) const;
  /// The value, or null; whatever it is, the key is known from now on.
  const GgufValue* find(std::string_view key);
  /// Throws Corrupt: missing without a fallback, no integer, not from low to high.
  int64_t integer(std::string_view key, int64_t low, int64_t high,
                  std::optional<int64_t> fallback = std::nullopt);
  /// One number for all layers, or one for each. Throws as integer(); Corrupt for another length.
  std::vector<int64_t> by_layer(std::string_view key, size_t layers, int64_t low, int64_t high,
                                const std::vector<int64_t>* fallback = nullptr);
  /// Finite and above 0, or where `zero_is_none` and it is 0, the fallback. The shortest decimal
  /// that is the same FP32 number: 1e-05, not 9.999999747378752e-06. Throws Corrupt.
  double positive(std::string_view key, std::optional<double> fallback = std::nullopt,
                  bool zero_is_none = false);
  bool boolean(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  /// Throws Unsupported where the key is there with another value than `expected`.
  void must_be(std::string_view key, double expected);

  void ignore(std::initializer_list<std::string_view> keys);
  /// Throws Unsupported naming the keys that are left over.
  void check_all_known() const;

 private:
  const GgufFile* file_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
};

/// The first of the names "a|b".
std::string first_name(std::string_view alternatives);

/// The shortest decimal number that is `value` in FP32.
double shortest(double value);

/// Base, share and scaling of the rotary embedding, into `json`.
void read_gguf_rope(GgufKeys& keys, const Family& family, int64_t head_dim, Json& json);
/// Sliding windows, into `json`.
void read_gguf_windows(GgufKeys& keys, const Family& family, size_t layers, Json& json);

/// The entries of the rotary embedding and of the windows.
void write_gguf_rope(const ModelConfig& config, const GgufArchitecture& architecture,
                     std::vector<GgufSetting>& settings);
void write_gguf_windows(const ModelConfig& config, const GgufArchitecture& architecture,
                        std::vector<GgufSetting>& settings);

/// The number p with which layer i has a window just where (i + 1) is no multiple of it: 1 where
/// none has one. Nothing where there is no such number.
std::optional<int64_t> gguf_window_period(const ModelConfig& config);

}  // namespace prunus
