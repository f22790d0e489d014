#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// Typed access to a JSON object that remembers which keys were asked for, so that what nobody
/// understood can be judged afterwards. `where` is the file's name in messages.
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
  /// The keys that were never asked for and say something: not null, "", [] or {}.
  std::vector<std::string> unknown() const;
  /// Throws Unsupported naming a key that nobody implements: it may change the mathematics.
  [[noreturn]] void refuse(const std::string& key, const std::string& why) const;

  /// Notes a field that is passed over because the stock class does not read it either.
  void pass_over(const std::string& name) { passed_over_.push_back(name); }
  const std::vector<std::string>& passed_over() const { return passed_over_; }

 private:
  const Json* find(const std::string& key);
  const Json* object_;
  std::string where_;
  std::set<std::string> known_;
  std::vector<std::string> passed_over_;
};

}  // namespace prunus
