#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prunus {

/// The lines of a file as rows of the data set that was made from it: of WikiText's raw files, a
/// row is a line with its newline, or nothing for a line of blanks. Joined by "\n\n" they are the
/// string that perplexity on WikiText-2 is measured on (Frantar et al., arXiv:2210.17323, code).
std::vector<std::string> wikitext_rows(std::string_view raw);

/// The articles of a WikiText file: a line such as " = Title = " begins a new one; what is all
/// blanks is left out. WikiText-2's test split has 62. Source: the data set behind the `wikitext`
/// task of lm-evaluation-harness.
std::vector<std::string> wikitext_pages(std::string_view raw);

/// An article as running text: no blanks before punctuation, inside brackets and quotation marks,
/// around "@-@", "@,@", "@.@" and line ends; "= =" is "==", " N " is " 1 ". The order of the rules
/// counts. Source: `wikitext` task of lm-evaluation-harness 0.4.13.
/// Differs: its rule for /' 5/ (slashes included), which no article has, is left out.
std::string detokenise_wikitext(std::string page);

/// Words as that task counts them: pieces between runs of white space, so blanks at either end
/// count as an empty word each. White space is what Python's re calls \s. `text` is valid UTF-8.
int64_t count_words(std::string_view text);

}  // namespace prunus
