#pragma once
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/json_view.h"
#include "prunus/text/text_pattern.h"

namespace prunus::text {

/// The words of a text; `arena` owns those that are not stretches of the text itself.
struct Words {
  struct Word {
    std::string_view text;
    bool at_start = false;  ///< begins where the whole original text begins
  };
  std::vector<Word> words;
  std::deque<std::string> arena;
};

/// The `pre_tokenizer` of a tokenizer.json: cuts normalised text into the words that the model sees
/// one at a time.
class PreTokenizer {
 public:
  /// Leaves the text whole (`pre_tokenizer` null).
  PreTokenizer() = default;
  /// Reads ByteLevel, Split (String or Regex, every behaviour), Digits, Metaspace, Whitespace,
  /// WhitespaceSplit, Punctuation, CharDelimiterSplit and Sequence. Throws Unsupported, naming the
  /// field, for any other type and where something follows ByteLevel; Corrupt for malformed ones.
  explicit PreTokenizer(const JsonView& node);

  /// Whether the model's vocabulary spells bytes (byte_level.h). The words themselves are returned
  /// as plain text, so that only those never seen before have to be spelled.
  bool byte_level() const { return byte_level_; }

  /// Cuts `text`; it must outlive the result. No word is empty.
  Words split(std::string_view text, bool at_start) const;

 private:
  enum class Kind { ByteLevel, Split, Digits, Metaspace, Spaces, Words, Punctuation };
  enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };
  enum class Prepend { Always, First, Never };
  struct Step {
    Kind kind;
    std::optional<TextPattern> pattern = {};  ///< ByteLevel, Split: what is looked for
    std::string mark = {};                    ///< Metaspace: what stands for a space
    Behavior behavior = Behavior::Isolated;
    Prepend prepend = Prepend::Never;  ///< a space (mark) in front where there is none
    bool invert = false;               ///< Split: what matches is what lies between the matches
    bool cuts = true;
  };
  struct Match {
    Span span;
    bool hit;
  };
  void read(const JsonView& node);
  static Step read_plain(const std::string& type, const JsonView& node);
  static Behavior read_behavior(const JsonView& node);
  static Step read_byte_level(const JsonView& node);
  static Step read_split(const JsonView& node);
  static Step read_metaspace(const JsonView& node);
  static void run(const Step& step, const Words::Word& word, Words& out);
  static std::string_view prepare(const Step& step, const Words::Word& word, Words& out);
  static std::vector<Span> find(const Step& step, std::string_view text);
  static std::vector<Match> matches(const Step& step, std::string_view text);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace prunus::text
