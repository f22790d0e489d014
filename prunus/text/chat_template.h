#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// What a chat template made of a conversation.
struct ChatRendering {
  std::string text;
  /// First and past-the-last byte of each {% generation %} block, in order.
  std::vector<std::pair<size_t, size_t>> generated = {};
};

/// A chat template: the subset of Jinja that published models use, with the settings of
/// transformers (trim_blocks, lstrip_blocks, loop controls, generation blocks, tojson without HTML
/// escapes) and its sandbox: lists and mappings never change. Everything else is
/// refused by name.
/// A template comes from a stranger: it is limited to 1 MiB, nesting 200 deep, 5 million steps,
/// 1 GiB of intermediate and 64 MiB of final text, and reaches nothing but the values given to it.
/// strftime_now tells of a fixed moment, 26 July 2024 at 0:00, so that a run can be repeated.
/// Immutable: render may be called from several threads at once.
class ChatTemplate {
 public:
  /// `where` names the source in messages. Throws Corrupt for what is no template, Unsupported for
  /// tags, filters and tests that Prunus does not know, naming line and column.
  ChatTemplate(std::string_view source, std::string where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The text for an object of variables: messages, add_generation_prompt, bos_token, ….
  /// Throws Corrupt for what the template itself raises (raise_exception), for values that it
  /// cannot handle and beyond a limit; Unsupported; both naming line and column.
  ChatRendering render(const Json& variables) const;

  /// Whether it says itself which text the assistant made.
  bool has_generation() const { return has_generation_; }
  const std::string& where() const { return where_; }

 private:
  struct Tree;
  std::string where_;
  std::unique_ptr<const Tree> tree_;
  bool has_generation_ = false;
};

}  // namespace prunus
