#include "prunus/text/json_parts.h"

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "prunus/text/utf8.h"

namespace prunus::text {

using nlohmann::json;

json byte_level_part(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json split_part(std::string_view regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json sequence_part(const char* key, json parts) {
  json whole = {{"type", "Sequence"}};
  whole[key] = std::move(parts);
  return whole;
}

json replace_part(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

json marks_decoder_part(bool strips) {
  json parts =
      json::array({replace_part(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (strips) parts.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return sequence_part("decoders", std::move(parts));
}

json template_part(const std::vector<json>& front, const std::vector<json>& behind) {
  json special = json::object();
  const auto around = [&](const char* text, int type) {
    json parts = json::array();
    const auto add = [&](const std::vector<json>& tokens) {
      for (const json& token : tokens) {
        const std::string& content = token.at("content").get_ref<const std::string&>();
        parts.push_back({{"SpecialToken", {{"id", content}, {"type_id", type}}}});
        special[content] = {{"id", content},
                            {"ids", json::array({token.at("id")})},
                            {"tokens", json::array({content})}};
      }
    };
    add(front);
    parts.push_back({{"Sequence", {{"id", text}, {"type_id", type}}}});
    add(behind);
    return parts;
  };
  json single = around("A", 0);
  json pair = single;
  for (json& part : around("B", 1)) pair.push_back(std::move(part));
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special)}};
}

}  // namespace prunus::text
