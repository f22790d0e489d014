#include "prunus/text/training_words.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/text/string_map.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

// sentencepiece ends the process at a word of 2^16 characters; pieces have 16 at most, so little is
// lost where a long one is cut.
constexpr size_t kMaxWordCharacters = 1024;

bool is_border(char32_t c) { return c < 0x20 || c == 0x7F || c == 0x2581 || c == 0x2585; }

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); }

// Bytes of the special or byte piece that `text` begins with, 0 where it begins otherwise.
size_t fixed_piece_bytes(std::string_view text) {
  for (const std::string_view special : {"<unk>", "<s>", "</s>"}) {
    if (text.starts_with(special)) return special.size();
  }
  const bool byte = text.size() >= 6 && text.starts_with("<0x") && is_hex(text[3]) &&
                    is_hex(text[4]) && text[5] == '>';
  return byte ? 6 : 0;
}

class WordCounter {
 public:
  // `begins`: the line is the first of its text.
  void add_line(std::string_view line, bool begins) {
    if (begins) append(U' ', " ");
    for (size_t at = 0; at < line.size();) {
      const CodePoint c = code_point_at(line, at);
      const size_t fixed = fixed_piece_bytes(line.substr(at));
      if (fixed > 0 || is_border(c.value)) {
        flush();
      } else {
        append(c.value, line.substr(at, c.bytes));
      }
      at += std::max(fixed, c.bytes);
    }
    flush();
  }

  const StringMap<int64_t>& counts() const { return counts_; }

 private:
  void append(char32_t c, std::string_view bytes) {
    const bool new_word = c == U' ' && !word_.empty() && !word_.ends_with(' ');
    if (new_word || characters_ == kMaxWordCharacters) flush();
    word_ += bytes;
    ++characters_;
  }

  void flush() {
    if (!word_.empty()) ++counts_[word_];
    word_.clear();
    characters_ = 0;
  }

  StringMap<int64_t> counts_;
  std::string word_;
  size_t characters_ = 0;
};

WordCounter count_all(const std::vector<std::string>& documents) {
  size_t total = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto bad = first_invalid_utf8(documents[i]);
    PRUNUS_CHECK(!bad, InvalidArgument, "document ", i, " is not valid UTF-8 at byte ", *bad);
    total += documents[i].size();
  }
  WordCounter counter;
  Progress progress("counting words, byte", static_cast<int64_t>(total));
  for (const std::string_view text : documents) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      counter.add_line(text.substr(at, end - at), at == 0);
      progress.step(static_cast<int64_t>(std::min(end + 1, text.size()) - at));
      at = end + 1;
    }
  }
  return counter;
}

// The characters that get a piece, in the order of TrainingWords::characters.
std::vector<char32_t> choose_characters(const StringMap<int64_t>& words, double coverage) {
  std::map<char32_t, int64_t> counts;
  int64_t total = 0;
  for (const auto& [word, count] : words) {
    for (size_t at = 0; at < word.size();) {
      const CodePoint c = code_point_at(word, at);
      counts[c.value] += count;
      total += count;
      at += c.bytes;
    }
  }
  // The space is needed in any text: it stands in front of each.
  std::vector<char32_t> chosen = {U' '};
  int64_t covered = counts[U' '];
  counts.erase(U' ');
  std::vector<std::pair<char32_t, int64_t>> order(counts.begin(), counts.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [c, count] : order) {
    if (static_cast<double>(covered) >= coverage * static_cast<double>(total)) break;
    chosen.push_back(c);
    covered += count;
  }
  return chosen;
}

void add_covered(std::string_view word, int64_t count, const std::set<char32_t>& known,
                 std::map<std::string, int64_t>& counts) {
  std::string part;
  for (size_t at = 0; at < word.size();) {
    const CodePoint c = code_point_at(word, at);
    if (known.contains(c.value)) {
      part += word.substr(at, c.bytes);
    } else if (!part.empty()) {
      counts[std::exchange(part, {})] += count;
    }
    at += c.bytes;
  }
  if (!part.empty()) counts[part] += count;
}

}  // namespace

TrainingWords count_words(const std::vector<std::string>& documents, double coverage) {
  const WordCounter counter = count_all(documents);
  const auto characters = choose_characters(counter.counts(), coverage);
  TrainingWords words;
  words.character_count = static_cast<int64_t>(characters.size());
  for (const char32_t c : characters) append_utf8(words.characters, c);
  const std::set<char32_t> known(characters.begin(), characters.end());
  for (const auto& [word, count] : counter.counts()) add_covered(word, count, known, words.counts);
  return words;
}

}  // namespace prunus::text
