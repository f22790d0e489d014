#include "prunus/text/token_decoder.h"

#include <map>
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/byte_level.h"
#include "prunus/text/normalizer.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

std::string join(const std::vector<std::string>& tokens, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += separator;
    text += tokens[i];
  }
  return text;
}

std::optional<char> byte_of(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : {token[3], token[4]}) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

// Runs of byte tokens become the text they spell, or one U+FFFD a byte where they spell none.
std::vector<std::string> join_bytes(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (first_invalid_utf8(bytes)) {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    } else {
      out.push_back(bytes);
    }
    bytes.clear();
  };
  for (const auto& token : tokens) {
    if (const auto byte = byte_of(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string strip(std::string_view token, std::string_view content, int64_t start, int64_t stop) {
  while (start-- > 0 && token.starts_with(content)) token.remove_prefix(content.size());
  while (stop-- > 0 && token.ends_with(content)) token.remove_suffix(content.size());
  return std::string(token);
}

}  // namespace

TokenDecoder::TokenDecoder(const JsonView& node) : joins_with_spaces_(node.is_null()) {
  if (!node.is_null()) read(node);
}

void TokenDecoder::read(const JsonView& node) {
  static const std::map<std::string, Kind> kinds = {
      {"ByteLevel", Kind::ByteLevel},       {"Metaspace", Kind::Metaspace},
      {"Replace", Kind::Replace},           {"Fuse", Kind::Fuse},
      {"ByteFallback", Kind::ByteFallback}, {"Strip", Kind::Strip}};
  const std::string type = node.text("type");
  if (type == "Sequence") {
    for (const auto& part : node.at("decoders").elements()) read(part);
    return;
  }
  const auto kind = kinds.find(type);
  PRUNUS_CHECK(kind != kinds.end(), Unsupported, node.where(), ": decoder type '", type,
               "' is not supported");
  Step step{.kind = kind->second};
  if (step.kind == Kind::Replace) {
    step.replaced.emplace(node.at("pattern"));
    step.content = node.text("content");
  } else if (step.kind == Kind::Strip) {
    step.pattern = node.text("content");
    step.start = node.integer("start");
    step.stop = node.integer("stop");
    PRUNUS_CHECK(!step.pattern.empty(), Corrupt, node.where(), ": Strip of an empty string");
  } else if (step.kind == Kind::Metaspace) {
    step.pattern = node.text("replacement");
    PRUNUS_CHECK(!step.pattern.empty(), Corrupt, node.where(), ": empty replacement");
    const bool never = node.has("prepend_scheme") ? node.text("prepend_scheme") == "never"
                                                  : !node.flag("add_prefix_space", true);
    step.drop_first = !never;
  }
  steps_.push_back(std::move(step));
}

void TokenDecoder::run(const Step& step, std::vector<std::string>& tokens) {
  if (step.kind == Kind::ByteLevel) {
    std::string bytes;
    for (const auto& token : tokens) append_spelled(bytes, token);
    tokens = {repair_utf8(bytes)};
  } else if (step.kind == Kind::ByteFallback) {
    tokens = join_bytes(tokens);
  } else if (step.kind == Kind::Fuse) {
    tokens = {join(tokens, "")};
  } else if (step.kind == Kind::Replace) {
    for (auto& token : tokens) token = step.replaced->replaced(token, step.content);
  } else if (step.kind == Kind::Strip) {
    for (auto& token : tokens) token = strip(token, step.pattern, step.start, step.stop);
  } else {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_all(tokens[i], step.pattern, i == 0 && step.drop_first ? "" : " ");
    }
  }
}

std::string TokenDecoder::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) run(step, tokens);
  return join(tokens, joins_with_spaces_ ? " " : "");
}

}  // namespace prunus::text
