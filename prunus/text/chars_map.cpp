#include "prunus/text/chars_map.h"

#include <cstring>

#include <nlohmann/json.hpp>
#include <utf8proc.h>

#include "prunus/base/error.h"
#include "prunus/text/base64.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

constexpr size_t kLongestCluster = 5;  // bytes of a cluster that is looked up whole

// One unit of the double array. Source: Darts-clone 0.32, darts.h.
uint32_t label_of(uint32_t unit) { return unit & (uint32_t{1} << 31 | 0xFF); }
uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & ~(uint32_t{1} << 31); }

// Where the cluster that begins at `begin` ends.
size_t cluster_end(std::string_view text, size_t begin) {
  CodePoint c = code_point_at(text, begin);
  size_t at = begin + c.bytes;
  utf8proc_int32_t state = 0;
  while (at < text.size()) {
    const CodePoint next = code_point_at(text, at);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.value),
                                         static_cast<utf8proc_int32_t>(next.value), &state)) {
      break;
    }
    at += next.bytes;
    c = next;
  }
  return at;
}

}  // namespace

CharsMap::CharsMap(const JsonView& node) {
  const std::string where = node.at("precompiled_charsmap").where();
  const std::string bytes = decode_base64(node.text("precompiled_charsmap"), where);
  uint32_t array_bytes = 0;
  PRUNUS_CHECK(bytes.size() > sizeof array_bytes, Corrupt, where, ": has ", bytes.size(),
               " bytes, too few for a map");
  std::memcpy(&array_bytes, bytes.data(), sizeof array_bytes);
  PRUNUS_CHECK(
      array_bytes % 4 == 0 && array_bytes >= 4 && array_bytes <= bytes.size() - sizeof array_bytes,
      Corrupt, where, ": says its array has ", array_bytes, " bytes, but ",
      bytes.size() - sizeof array_bytes, " follow");
  units_.resize(array_bytes / 4);
  std::memcpy(units_.data(), bytes.data() + sizeof array_bytes, array_bytes);
  replacements_ = bytes.substr(sizeof array_bytes + array_bytes);
  PRUNUS_CHECK(!first_invalid_utf8(replacements_), Corrupt, where,
               ": its replacements are not valid UTF-8");
}

std::optional<std::string_view> CharsMap::replacement(std::string_view text) const {
  size_t node = offset_of(units_[0]);
  for (const char byte : text) {
    if (byte == 0) break;
    node ^= static_cast<uint8_t>(byte);
    if (node >= units_.size() || label_of(units_[node]) != static_cast<uint8_t>(byte)) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size() || value_of(units_[node]) >= replacements_.size()) break;
    return std::string_view(replacements_.c_str() + value_of(units_[node]));
  }
  return std::nullopt;
}

void CharsMap::append_cluster(std::string& out, std::string_view cluster) const {
  if (cluster.size() <= kLongestCluster) {
    if (const auto mapped = replacement(cluster)) {
      out += *mapped;
      return;
    }
  }
  for (size_t at = 0; at < cluster.size();) {
    const auto character = cluster.substr(at, code_point_at(cluster, at).bytes);
    out += replacement(character).value_or(character);
    at += character.size();
  }
}

std::string CharsMap::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = cluster_end(text, at);
    append_cluster(out, text.substr(at, end - at));
    at = end;
  }
  return out;
}

}  // namespace prunus::text
