#include "prunus/text/normalizer.h"

#include <cstdlib>
#include <map>

#include <nlohmann/json.hpp>
#include <utf8proc.h>

#include "prunus/base/error.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

std::string strip(std::string text, bool left, bool right) {
  size_t begin = 0;
  while (left && begin < text.size()) {
    const CodePoint c = code_point_at(text, begin);
    if (!is_white_space(c.value)) break;
    begin += c.bytes;
  }
  size_t end = text.size();
  while (right && end > begin) {
    const CodePoint c = last_code_point(std::string_view(text).substr(0, end));
    if (!is_white_space(c.value)) break;
    end -= c.bytes;
  }
  return text.substr(begin, end - begin);
}

std::string lower(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    append_lower(out, c.value);
    at += c.bytes;
  }
  return out;
}

std::string strip_accents(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (!is_mark(c.value)) out.append(text, at, c.bytes);
    at += c.bytes;
  }
  return out;
}

// The rules of sentencepiece's nmt normalisation, as Hugging Face has them: some control characters
// go, white space and invisible characters become spaces.
std::string nmt(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const char32_t v = c.value;
    const bool dropped = (v >= 0x01 && v <= 0x08) || v == 0x0B || (v >= 0x0E && v <= 0x1F) ||
                         v == 0x7F || v == 0x8F || v == 0x9F;
    const bool space = v == 0x09 || v == 0x0A || v == 0x0C || v == 0x0D || v == 0x1680 ||
                       (v >= 0x200B && v <= 0x200F) || v == 0x2028 || v == 0x2029 || v == 0x2581 ||
                       v == 0xFEFF || v == 0xFFFD;
    if (space) {
      out += ' ';
    } else if (!dropped) {
      out.append(text, at, c.bytes);
    }
    at += c.bytes;
  }
  return out;
}

void append_form(std::string& out, std::string_view text, int options) {
  utf8proc_uint8_t* result = nullptr;
  const auto count = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                  static_cast<utf8proc_ssize_t>(text.size()), &result,
                                  static_cast<utf8proc_option_t>(options));
  PRUNUS_CHECK(count >= 0, InvalidArgument, "cannot normalise text: ", utf8proc_errmsg(count));
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(count));
  std::free(result);
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t from = 0;
  for (size_t at = 0; (at = text.find(pattern, from)) != text.npos; from = at + pattern.size()) {
    out.append(text, from, at - from).append(content);
  }
  return out.append(text, from);
}

Normalizer::Normalizer(const JsonView& node) {
  if (!node.is_null()) read(node);
}

void Normalizer::read(const JsonView& node) {
  static const std::map<std::string, Kind> kinds = {{"NFC", Kind::Nfc},
                                                    {"NFD", Kind::Nfd},
                                                    {"NFKC", Kind::Nfkc},
                                                    {"NFKD", Kind::Nfkd},
                                                    {"Lowercase", Kind::Lowercase},
                                                    {"Strip", Kind::Strip},
                                                    {"StripAccents", Kind::StripAccents},
                                                    {"Nmt", Kind::Nmt},
                                                    {"Precompiled", Kind::Mapped},
                                                    {"Prepend", Kind::Prepend},
                                                    {"Replace", Kind::Replace}};
  const std::string type = node.text("type");
  if (type == "Sequence") {
    for (const auto& part : node.at("normalizers").elements()) read(part);
    return;
  }
  const auto kind = kinds.find(type);
  PRUNUS_CHECK(kind != kinds.end(), Unsupported, node.where(), ": normalizer type '", type,
               "' is not supported");
  Step step{.kind = kind->second};
  if (step.kind == Kind::Prepend) step.content = node.text("prepend");
  if (step.kind == Kind::Replace) {
    step.pattern.emplace(node.at("pattern"));
    step.content = node.text("content");
  }
  // Some converted files carry the normalizer without a map; it changes nothing then.
  if (step.kind == Kind::Mapped) {
    if (!node.has("precompiled_charsmap")) return;
    step.map.emplace(node);
  }
  step.left = node.flag("strip_left", false);
  step.right = node.flag("strip_right", false);
  steps_.push_back(std::move(step));
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const auto& step : steps_) out = run(step, std::move(out));
  return out;
}

std::string Normalizer::run(const Step& step, std::string text) {
  switch (step.kind) {
    case Kind::Lowercase:
      return lower(text);
    case Kind::StripAccents:
      return strip_accents(text);
    case Kind::Nmt:
      return nmt(text);
    case Kind::Mapped:
      return step.map->apply(text);
    case Kind::Strip:
      return strip(std::move(text), step.left, step.right);
    case Kind::Prepend:
      return text.empty() ? text : step.content + text;
    case Kind::Replace:
      return step.pattern->replaced(text, step.content);
    default:
      return unicode_form(step.kind, text);
  }
}

std::string Normalizer::unicode_form(Kind kind, std::string_view text) {
  const bool composes = kind == Kind::Nfc || kind == Kind::Nfkc;
  const bool compatible = kind == Kind::Nfkc || kind == Kind::Nfkd;
  const int options = UTF8PROC_STABLE | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                      (compatible ? UTF8PROC_COMPAT : 0);
  // Characters below the limit are starters that no form changes and that compose with nothing
  // before them; so only a longer stretch, with the one character before it, needs work.
  const char32_t limit = kind == Kind::Nfc ? 0x300 : 0x80;
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  size_t previous = 0;
  for (size_t at = 0; at < text.size();) {
    CodePoint c = code_point_at(text, at);
    if (c.value < limit) {
      previous = at;
      at += c.bytes;
      continue;
    }
    out.append(text, done, previous - done);
    while (at < text.size() && (c = code_point_at(text, at)).value >= limit) at += c.bytes;
    append_form(out, text.substr(previous, at - previous), options);
    done = previous = at;
  }
  return out.append(text, done);
}

}  // namespace prunus::text
