#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/json_view.h"
#include "prunus/text/regex.h"

namespace prunus::text {

/// The `pattern` of a tokenizer.json: {"String": …} or {"Regex": …}.
class TextPattern {
 public:
  /// Throws Unsupported for an empty string and as Regex does; Corrupt for malformed ones.
  explicit TextPattern(const JsonView& node);

  /// All matches in `text`, from left to right, not overlapping, none of them empty.
  std::vector<Span> find_all(std::string_view text) const;
  /// `text` with each match replaced by `content` as it stands.
  std::string replaced(std::string_view text, std::string_view content) const;

 private:
  std::optional<Regex> regex_;
  std::string plain_;
};

}  // namespace prunus::text
