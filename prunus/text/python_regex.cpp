#define PCRE2_CODE_UNIT_WIDTH 8
#include "prunus/text/python_regex.h"

#include <algorithm>
#include <cctype>

#include <pcre2.h>

#include "prunus/base/error.h"
#include "prunus/io/quote.h"

namespace prunus::text {
namespace {

constexpr size_t kMaxPatternBytes = 10000;
// What follows "(?" and means the same to both libraries; flags of the whole expression stand first
// in Python, where PCRE2 takes them anywhere.
constexpr std::string_view kGroups[] = {":", "=", "!", "<=", "<!", "P<", "P=", ">", "i)", "i:"};

// The pattern with \Z in PCRE2's spelling.
class Checker {
 public:
  Checker(const std::string& pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    require(in_.size() <= kMaxPatternBytes, "too many characters");
    require(in_.find('\0') == std::string::npos, "a NUL");
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
    PRUNUS_CHECK(ok, Unsupported, where_, ": the regular expression ", quote(in_), " has ", what,
                 " at byte ", at_, ", which Prunus does not read");
  }

  void escape() {
    require(at_ + 1 < in_.size(), "a lone backslash");
    const char c = in_[at_ + 1];
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
    require(!letter || std::string_view("dDsSwWbBAZnrtf123456789").find(c) != std::string::npos,
            c10::str("\\", c));
    require(!in_class_ || std::string_view("BAZ").find(c) == std::string::npos,
            c10::str("\\", c, " inside brackets"));
    if (c == 'Z') {
      out_ += "\\z";
      at_ += 2;
    } else {
      copy(2);
    }
  }

  void class_member() {
    require(!ahead("[:") && !ahead("[.") && !ahead("[="), "a class of POSIX");
    if (in_[at_] == ']') in_class_ = false;
    copy(1);
  }

  void plain() {
    require(!ahead("(*"), "(*");
    require(!ahead("{,"), "{,");
    if (ahead("(?")) {
      const bool known = std::any_of(std::begin(kGroups), std::end(kGroups), [&](auto group) {
        return in_.compare(at_ + 2, group.size(), group) == 0;
      });
      require(known, "an unusual group");
    }
    if (in_[at_] != '[') return copy(1);
    in_class_ = true;
    copy(ahead("[^") ? 2 : 1);
    if (ahead("]")) copy(1);  // as first member it is itself
  }

  const std::string& in_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

}  // namespace

struct PythonRegex::Code {
  pcre2_code* compiled = nullptr;
  std::string where;
  ~Code() { pcre2_code_free(compiled); }

  // The match at the text's beginning, or null.
  MatchData match(std::string_view text, uint32_t options) const {
    MatchData data(pcre2_match_data_create_from_pattern(compiled, nullptr), pcre2_match_data_free);
    const int found = pcre2_match(compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  0, options | PCRE2_ANCHORED, data.get(), nullptr);
    PRUNUS_CHECK(found >= 0 || found == PCRE2_ERROR_NOMATCH, Unsupported, where,
                 ": the regular expression takes too much work on ", quote(text), " (PCRE2 error ",
                 found, ")");
    if (found < 0) data.reset();
    return data;
  }
};

PythonRegex::PythonRegex(const std::string& pattern, const std::string& where)
    : code_(std::make_unique<Code>()) {
  const std::string checked = Checker(pattern, where).run();
  code_->where = where;
  int error = 0;
  size_t offset = 0;
  code_->compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(checked.data()), checked.size(), 0,
                                  &error, &offset, nullptr);
  if (code_->compiled != nullptr) return;
  unsigned char message[256] = {};
  pcre2_get_error_message(error, message, sizeof message);
  PRUNUS_FAIL(Unsupported, where, ": regular expression ", quote(pattern), ": ",
              reinterpret_cast<const char*>(message), " at byte ", offset);
}

PythonRegex::~PythonRegex() = default;
PythonRegex::PythonRegex(PythonRegex&&) noexcept = default;
PythonRegex& PythonRegex::operator=(PythonRegex&&) noexcept = default;

bool PythonRegex::matches_all(std::string_view text) const {
  return code_->match(text, PCRE2_ENDANCHORED) != nullptr;
}

bool PythonRegex::matches_begin(std::string_view text) const {
  return code_->match(text, 0) != nullptr;
}

std::optional<std::string> PythonRegex::group(std::string_view text, const char* name) const {
  const MatchData data = code_->match(text, 0);
  if (data == nullptr) return std::nullopt;
  PCRE2_UCHAR* bytes = nullptr;
  size_t size = 0;
  if (pcre2_substring_get_byname(data.get(), reinterpret_cast<PCRE2_SPTR>(name), &bytes, &size) !=
      0) {
    return std::nullopt;
  }
  std::string result(reinterpret_cast<const char*>(bytes), size);
  pcre2_substring_free(bytes);
  return result;
}

}  // namespace prunus::text
