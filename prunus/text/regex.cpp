#define PCRE2_CODE_UNIT_WIDTH 8
#include "prunus/text/regex.h"

#include <pcre2.h>

#include "prunus/base/error.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

// White_Space and \w as Oniguruma has them; PCRE2's \s adds U+180E, its \w lacks marks.
constexpr std::string_view kSpaces = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kWords = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      if (in_[at_] == '\\') {
        escape();
      } else if (in_class_) {
        class_member();
      } else {
        plain();
      }
    }
    return std::move(out_);
  }

 private:
  bool ahead(std::string_view text) const { return in_.compare(at_, text.size(), text) == 0; }
  void copy(size_t count) {
    out_.append(in_, at_, count);
    at_ += count;
  }
  void require(bool ok, std::string_view what) const {
    PRUNUS_CHECK(ok, Unsupported, where_, ": regular expression has ", what, " at byte ", at_,
                 ", which is not supported: ", in_);
  }

  void escape() {
    require(at_ + 1 < in_.size(), "a lone backslash");
    const char c = in_[at_ + 1];
    if (c == 's' || c == 'S' || c == 'w' || c == 'W') return set_escape(c);
    if (c == 'u') {
      require(at_ + 6 <= in_.size(), "a short \\u");
      out_.append("\\x{").append(in_, at_ + 2, 4).append("}");
      at_ += 6;
      return;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    require(!letter || std::string_view("pPdDrntfxAz").find(c) != std::string_view::npos,
            std::string("\\") + c);
    const bool braced =
        at_ + 2 < in_.size() && in_[at_ + 2] == '{' && (c == 'p' || c == 'P' || c == 'x');
    const size_t end = braced ? in_.find('}', at_) : at_ + 1;
    require(end != std::string::npos, "an open brace");
    copy(end + 1 - at_);
  }

  void set_escape(char c) {
    const std::string_view members = c == 's' || c == 'S' ? kSpaces : kWords;
    const bool negated = c == 'S' || c == 'W';
    require(!(negated && in_class_), "a negated \\S or \\W inside brackets");
    if (in_class_) {
      out_.append(members);
    } else {
      out_.append(negated ? "[^" : "[").append(members).append("]");
    }
    at_ += 2;
  }

  void class_member() {
    require(!ahead("&&"), "&& inside brackets");
    if (ahead("[:")) {
      const size_t end = in_.find(":]", at_ + 2);
      require(end != std::string::npos, "an open [:");
      return copy(end + 2 - at_);
    }
    if (in_[at_] == '[') return open_inner();
    if (in_[at_] != ']') return copy(1);
    if (--depth_ == 0) {
      in_class_ = false;
      return copy(1);
    }
    require(!out_.ends_with('-') && !ahead("]-"), "a range at the edge of inner brackets");
    ++at_;
  }

  // Brackets inside brackets add their members (BLOOM has them); PCRE2 knows no such thing.
  void open_inner() {
    require(!ahead("[^"), "negated brackets inside brackets");
    require(!ahead("[-") && !out_.ends_with('-'), "a range at the edge of inner brackets");
    require(!ahead("[]"), "a bracket as first member of inner brackets");
    ++depth_;
    ++at_;
  }

  void open_class() {
    in_class_ = true;
    depth_ = 1;
    copy(ahead("[^") ? 2 : 1);
    if (!ahead("]")) return;
    out_ += "\\]";  // as first member it is itself
    ++at_;
  }

  // ^ and $ are those of lines in Ruby; there is no line after the last line break for ^.
  void anchor() {
    out_ += in_[at_] == '$' ? "(?=\\n|\\z)" : "(?:\\A|(?<=\\n)(?!\\z))";
    ++at_;
  }

  void plain() {
    if (in_[at_] == '[') return open_class();
    if (in_[at_] == '^' || in_[at_] == '$') return anchor();
    require(!ahead("}+"), "a possessive interval");
    if (ahead("(?")) {
      size_t length = 0;
      for (const std::string_view group : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"}) {
        if (ahead(group)) length = group.size();
      }
      require(length > 0, "an unusual group");
      return copy(length);
    }
    copy(1);
  }

  const std::string& in_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
  int depth_ = 0;  // of brackets
};

using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

}  // namespace

std::string portable_pattern(const std::string& pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

struct Regex::Code {
  pcre2_code* compiled = nullptr;
  bool jit = false;
  ~Code() { pcre2_code_free(compiled); }

  // Matches from `at`; PCRE2's return value.
  int match(std::string_view text, size_t at, pcre2_match_data* data) const {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    if (jit) {
      const int found =
          pcre2_jit_match(compiled, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data, nullptr);
      if (found != PCRE2_ERROR_JIT_STACKLIMIT) return found;
    }
    return pcre2_match(compiled, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                       nullptr);
  }
};

Regex::Regex(const std::string& pattern, const std::string& where)
    : code_(std::make_unique<Code>()), where_(where) {
  const std::string portable = portable_pattern(pattern, where);
  int error = 0;
  size_t offset = 0;
  code_->compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(portable.data()), portable.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code_->compiled == nullptr) {
    unsigned char message[256] = "";
    pcre2_get_error_message(error, message, sizeof message);
    PRUNUS_FAIL(Unsupported, where,
                ": regular expression refused by PCRE2: ", reinterpret_cast<const char*>(message),
                " in ", portable);
  }
  code_->jit = pcre2_jit_compile(code_->compiled, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::find_all(std::string_view text, std::vector<Span>& matches) const {
  const MatchData data(pcre2_match_data_create_from_pattern(code_->compiled, nullptr),
                       &pcre2_match_data_free);
  PRUNUS_CHECK(data != nullptr, Unsupported, where_, ": no memory to match");
  const size_t* found = pcre2_get_ovector_pointer(data.get());
  size_t at = 0;
  while (at <= text.size()) {
    const int count = code_->match(text, at, data.get());
    if (count == PCRE2_ERROR_NOMATCH) break;
    PRUNUS_CHECK(count >= 0, Unsupported, where_, ": regular expression gave up at byte ", at,
                 " of a text (PCRE2 error ", count, ")");
    const Span match{found[0], found[1]};
    if (match.end > match.begin) {
      matches.push_back(match);
      at = match.end;
    } else {  // an empty match cuts nothing off
      at = match.end < text.size() ? match.end + code_point_at(text, match.end).bytes
                                   : text.size() + 1;
    }
  }
}

}  // namespace prunus::text
