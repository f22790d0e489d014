#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/chars_map.h"
#include "prunus/text/json_view.h"
#include "prunus/text/text_pattern.h"

namespace prunus::text {

/// The `normalizer` of a tokenizer.json: rewrites a stretch of text before it is cut into words.
class Normalizer {
 public:
  /// Changes nothing (`normalizer` null).
  Normalizer() = default;
  /// Reads NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace, Nmt, Precompiled
  /// and Sequence. Throws Unsupported, naming the field, for any other; Corrupt for malformed ones.
  explicit Normalizer(const JsonView& node);

  bool changes_nothing() const { return steps_.empty(); }
  /// `text` (valid UTF-8) after all steps in order. The empty text stays empty.
  std::string apply(std::string_view text) const;

 private:
  enum class Kind {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    Strip,
    StripAccents,
    Prepend,
    Replace,
    Nmt,
    Mapped
  };
  struct Step {
    Kind kind;
    std::optional<TextPattern> pattern = {};  ///< Replace: what is replaced
    std::optional<CharsMap> map = {};         ///< Precompiled
    std::string content = {};                 ///< Replace: by what; Prepend: what is put in front
    bool left = false;                        ///< Strip: white space at the front
    bool right = false;                       ///< Strip: white space at the end
  };
  void read(const JsonView& node);
  static std::string run(const Step& step, std::string text);
  static std::string unicode_form(Kind kind, std::string_view text);

  std::vector<Step> steps_;
};

/// `text` with every occurrence of `pattern` (not empty) replaced, from left to right.
std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace prunus::text
