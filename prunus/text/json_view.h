#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace prunus::text {

/// Parses a large untrusted JSON file into the sorted-map flavour of nlohmann::json.
/// base/json.h keeps the order of keys at a cost quadratic in their number, which a vocabulary of
/// 150,000 cannot pay. Rejects the same: bad syntax, bad UTF-8, duplicate keys, deep nesting.
/// Throws NotFound, Io, Corrupt (also where the file is larger than 256 MiB).
nlohmann::json read_large_json(const std::string& path);

/// A value of a JSON document that knows where it stands, so that every complaint can name it.
/// The document must outlive the view. Every method throws Corrupt where the type is not as said.
class JsonView {
 public:
  /// `where` is the file for the root ("dir/tokenizer.json"); members add ": normalizer.type".
  JsonView(const nlohmann::json& node, std::string where)
      : node_(&node), where_(std::move(where)) {}

  const nlohmann::json& raw() const { return *node_; }
  const std::string& where() const { return where_; }
  bool is_null() const;
  /// Whether this object has `key` with a value other than null.
  bool has(const char* key) const;

  /// The member `key` of this object.
  JsonView at(const char* key) const;
  /// The elements of this array.
  std::vector<JsonView> elements() const;

  /// The member `key` as a string, as an integer, as a flag (`fallback` where absent or null).
  std::string text(const char* key) const;
  int64_t integer(const char* key) const;
  bool flag(const char* key, bool fallback) const;

  /// Throws Unsupported unless the member is absent, null, false, zero or empty.
  void require_unset(const char* key) const;

 private:
  const nlohmann::json* node_;
  std::string where_;
};

}  // namespace prunus::text
