#include "prunus/text/text_pattern.h"

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus::text {

TextPattern::TextPattern(const JsonView& node) {
  if (node.has("Regex")) {
    regex_.emplace(node.text("Regex"), node.where());
    return;
  }
  plain_ = node.text("String");
  PRUNUS_CHECK(!plain_.empty(), Unsupported, node.where(), ": a pattern of an empty string");
}

std::vector<Span> TextPattern::find_all(std::string_view text) const {
  std::vector<Span> found;
  if (regex_) {
    regex_->find_all(text, found);
    return found;
  }
  for (size_t at = 0; (at = text.find(plain_, at)) != text.npos; at += plain_.size()) {
    found.push_back({at, at + plain_.size()});
  }
  return found;
}

std::string TextPattern::replaced(std::string_view text, std::string_view content) const {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t done = 0;
  for (const Span& match : find_all(text)) {
    out.append(text, done, match.begin - done).append(content);
    done = match.end;
  }
  return out.append(text, done);
}

}  // namespace prunus::text
