#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// Typed access to a JSON object that remembers which keys were asked for, so that what nobody
/// understood can be refused afterwards. `where` is the file's name in messages.
class ConfigFields {
 public:
  ConfigFields(const Json& object, std::string where);

  bool has(const std::string& key) const;  ///< present and not null
  /// Integer in [low, high]. Throws Corrupt where absent (no fallback), of another type, out of
  /// range.
  int64_t integer(const std::string& key, int64_t low, int64_t high,
                  std::optional<int64_t> fallback = std::nullopt);
  /// Finite number > 0. Throws Corrupt.
  double positive(const std::string& key, std::optional<double> fallback = std::nullopt);
  /// A list of finite numbers > 0. Throws Corrupt.
  std::vector<double> positives(const std::string& key);
  bool boolean(const std::string& key, bool fallback);
  std::string text(const std::string& key, const std::string& fallback);
  std::optional<std::vector<int64_t>> integers(const std::string& key, size_t count, int64_t low,
                                               int64_t high);
  std::optional<std::vector<std::string>> texts(const std::string& key, size_t count);
  std::optional<ConfigFields> object(const std::string& key);
  const Json& json() const { return *object_; }
  const std::string& where() const { return where_; }

  /// Marks keys as known to have no effect on the mathematics.
  void ignore(std::initializer_list<const char*> keys);
  /// Throws Unsupported naming the first key that was never asked for and is not null, false, or
  /// empty: it may change the mathematics.
  void refuse_unknown() const;

 private:
  const Json* find(const std::string& key);
  const Json* object_;
  std::string where_;
  std::set<std::string> known_;
};

}  // namespace prunus
