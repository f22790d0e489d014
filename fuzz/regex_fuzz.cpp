// A regular expression of a tokenizer.json, and behind the first line break a text to match.
#include "prunus/text/regex.h"
#include "prunus/text/utf8.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(input) {
  using namespace prunus::text;
  const size_t cut = std::min(input.find('\n'), input.size());
  const std::string pattern(input.substr(0, cut));
  const std::string_view text = cut < input.size() ? input.substr(cut + 1) : "it's 42  \t\u00e9.";
  if (first_invalid_utf8(pattern) || first_invalid_utf8(text)) return;  // the callers check
  std::vector<Span> matches;
  Regex(pattern, "pattern").find_all(text, matches);
  size_t end = 0;
  for (const Span& match : matches) {
    prunus::fuzz::require(match.begin >= end && match.end > match.begin && match.end <= text.size(),
                          "matches are in order, apart and not empty");
    end = match.end;
  }
}
