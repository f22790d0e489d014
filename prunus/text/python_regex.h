#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace prunus::text {

/// A regular expression in the syntax of Python's `re`, as PEFT's adapter_config.json holds them,
/// for names of modules (ASCII). Run by PCRE2, whose syntax agrees on what is let through: escapes,
/// groups and intervals that the two libraries read differently are refused.
class PythonRegex {
 public:
  /// `where` names the field in messages. Throws Unsupported, as above or where PCRE2 refuses.
  PythonRegex(const std::string& pattern, const std::string& where);
  ~PythonRegex();
  PythonRegex(PythonRegex&&) noexcept;
  PythonRegex& operator=(PythonRegex&&) noexcept;

  /// re.fullmatch(). Throws Unsupported where the expression exceeds the work limit of PCRE2.
  bool matches_all(std::string_view text) const;
  /// re.match(): from the beginning, not always to the end.
  bool matches_begin(std::string_view text) const;
  /// re.match(), then the text of the named group; nothing where there is no match.
  std::optional<std::string> group(std::string_view text, const char* name) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace prunus::text
