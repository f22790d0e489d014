#pragma once
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace prunus {

/// Objects keep the order of their keys, so that rewriting a file changes only what was meant.
using Json = nlohmann::ordered_json;

/// Parses untrusted JSON text. `where` names the source in messages.
/// Throws Corrupt on: syntax errors, invalid UTF-8, duplicate keys, nesting deeper than 64.
Json parse_json(std::string_view text, const std::string& where);

/// Reads and parses a JSON file of at most `max_bytes`.
/// Throws NotFound, Io, and as parse_json.
Json read_json(const std::string& path, uint64_t max_bytes = uint64_t{1} << 30);

}  // namespace prunus
