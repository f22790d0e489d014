#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prunus::text {

/// A stretch of bytes [begin, end) of some text.
struct Span {
  size_t begin;
  size_t end;
};

/// A regular expression of a tokenizer.json. Those are written for Oniguruma (Ruby syntax); this is
/// PCRE2 with Unicode properties, so the constructor rewrites \s, \w and \u, which the two
/// libraries understand differently, as well as ^ and $ (of lines) and brackets inside brackets,
/// and refuses what it cannot carry over (&& and negated sets in brackets, \h, \v, \R, \b, back
/// references, unusual groups).
class Regex {
 public:
  /// `where` names the field in messages. Throws Unsupported, as above or where PCRE2 refuses.
  Regex(const std::string& pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Appends all matches in `text` (valid UTF-8), from left to right, not overlapping.
  /// Throws Unsupported where the expression exceeds the work limit of PCRE2 on this text.
  void find_all(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string where_;
};

/// `pattern` rewritten from Oniguruma to PCRE2, see Regex. Throws Unsupported.
std::string portable_pattern(const std::string& pattern, const std::string& where);

}  // namespace prunus::text
