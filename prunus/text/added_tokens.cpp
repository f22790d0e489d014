#include "prunus/text/added_tokens.h"

#include <algorithm>

#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

size_t white_space_before(std::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const CodePoint c = last_code_point(text.substr(0, text.size() - bytes));
    if (!is_white_space(c.value)) break;
    bytes += c.bytes;
  }
  return bytes;
}

size_t white_space_after(std::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const CodePoint c = code_point_at(text, bytes);
    if (!is_white_space(c.value)) break;
    bytes += c.bytes;
  }
  return bytes;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && is_word(last_code_point(text.substr(0, begin)).value)) ||
         (end < text.size() && is_word(code_point_at(text, end).value));
}

}  // namespace

AddedToken read_added_token(const JsonView& node) {
  AddedToken token;
  token.content = node.text("content");
  token.special = node.flag("special", false);
  token.normalized = node.flag("normalized", !token.special);
  token.lstrip = node.flag("lstrip", false);
  token.rstrip = node.flag("rstrip", false);
  token.single_word = node.flag("single_word", false);
  return token;
}

AddedTokens::AddedTokens() : trie_(1) {}

void AddedTokens::add(const AddedToken& token, std::string_view pattern) {
  if (pattern.empty()) return;
  uint32_t node = 0;
  for (const char byte : pattern) {
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(trie_.size());
      trie_.emplace_back();
      trie_[node].next.emplace_back(byte, next);
      if (node == 0) first_[static_cast<uint8_t>(byte)] = next;
    }
    node = next;
  }
  trie_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

uint32_t AddedTokens::child(uint32_t node, char byte) const {
  for (const auto& [edge, next] : trie_[node].next) {
    if (edge == byte) return next;
  }
  return 0;
}

AddedTokens::Match AddedTokens::longest_at(std::string_view text, size_t at) const {
  Match longest;
  uint32_t node = first_[static_cast<uint8_t>(text[at])];
  while (node != 0) {
    ++at;
    if (trie_[node].token >= 0) longest = {at, trie_[node].token};
    if (at == text.size()) break;
    node = child(node, text[at]);
  }
  return longest;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text) const {
  std::vector<Part> parts;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const Match match = longest_at(text, at);
    if (match.token < 0) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = match.end;
    at = end;  // a token that is refused below is passed over whole, as in Hugging Face
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(done, begin - white_space_before(text.substr(0, begin)));
    if (token.rstrip) end += white_space_after(text.substr(end));
    if (begin > done) parts.push_back({done, begin, -1});
    parts.push_back({begin, end, token.id});
    done = std::max(done, end);
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

}  // namespace prunus::text
