#include "prunus/text/chat_spans.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace prunus::text {
namespace {

// Characters of a private use area, which no template changes.
constexpr std::string_view kMark = "\uE000\uE0F1\uE000";

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  size_t length = 0;
  while (length < most && a[length] == b[length]) ++length;
  // Not within a character.
  const auto continues = [&](std::string_view text) {
    return length < text.size() && (static_cast<uint8_t>(text[length]) & 0xC0) == 0x80;
  };
  while (length > 0 && (continues(a) || continues(b))) --length;
  return length;
}

// The length of a text without a tag that begins in it and does not end: "</s>" and "<|user|>" have
// "<" in common.
size_t whole_tags(std::string_view text) {
  for (const auto& [open, close] : {std::pair('<', '>'), std::pair('[', ']')}) {
    const size_t begin = text.rfind(open);
    if (begin != text.npos && text.find(close, begin) == text.npos) text = text.substr(0, begin);
  }
  return text.size();
}

Json first_messages(const Json& messages, size_t count) {
  Json some = Json::array();
  for (size_t i = 0; i < count; ++i) some.push_back(messages[i]);
  return some;
}

class TurnFinder {
 public:
  TurnFinder(const RenderMessages& render, const Json& messages, size_t turn,
             const std::string& whole)
      : render_(render), messages_(messages), turn_(turn), whole_(whole) {}

  std::optional<std::pair<size_t, size_t>> span() {
    const auto begin = begin_by_prefix();
    const auto end = end_by_prefix();
    if (begin && end) return checked(*begin, *end);
    if (!mark_turn()) return std::nullopt;
    return checked(begin.value_or(content_begin_), end ? *end : end_by_mark());
  }

 private:
  static std::optional<std::pair<size_t, size_t>> checked(size_t begin, size_t end) {
    if (begin > end) return std::nullopt;
    return std::make_pair(begin, end);
  }

  // Behind the messages before and the prompt; as much of the prompt as the turn begins with.
  std::optional<size_t> begin_by_prefix() const {
    const Json before = first_messages(messages_, turn_);
    const auto prompted = render_(before, true);
    if (!prompted) return std::nullopt;
    if (whole_.starts_with(*prompted)) return prompted->size();
    const auto bare = render_(before, false);
    if (!bare || bare->empty() || !whole_.starts_with(*bare)) return std::nullopt;
    return std::max(bare->size(), common_prefix(*prompted, whole_));
  }

  std::optional<size_t> end_by_prefix() const {
    const auto upto = render_(first_messages(messages_, turn_ + 1), false);
    if (!upto || !whole_.starts_with(*upto)) return std::nullopt;
    return upto->size();
  }

  // Where the turn's content stands in the whole text, and what follows it where nothing else is
  // said.
  bool mark_turn() {
    Json marked = messages_;
    marked[turn_]["content"] = std::string(kMark);
    const auto all = render_(marked, false);
    const auto alone = render_(first_messages(marked, turn_ + 1), false);
    if (!all || !alone) return false;
    const auto after = behind_mark(*all);
    const auto after_alone = behind_mark(*alone);
    if (!after || !after_alone || !whole_.ends_with(*after)) return false;
    content_end_ = whole_.size() - after->size();
    content_begin_ = std::min(common_prefix(*all, whole_), content_end_);
    tail_ = *after_alone;
    return true;
  }

  static std::optional<std::string> behind_mark(const std::string& text) {
    const size_t at = text.find(kMark);
    if (at == text.npos || text.find(kMark, at + 1) != text.npos) return std::nullopt;
    return text.substr(at + kMark.size());
  }

  size_t end_by_mark() const {
    const std::string_view rest = std::string_view(whole_).substr(content_end_);
    return content_end_ + whole_tags(rest.substr(0, common_prefix(tail_, rest)));
  }

  const RenderMessages& render_;
  const Json& messages_;
  size_t turn_;
  const std::string& whole_;
  size_t content_begin_ = 0;
  size_t content_end_ = 0;
  std::string tail_;
};

}  // namespace

std::optional<std::pair<size_t, size_t>> span_of_turn(const RenderMessages& render,
                                                      const Json& messages, size_t turn,
                                                      const std::string& whole) {
  return TurnFinder(render, messages, turn, whole).span();
}

}  // namespace prunus::text
