#pragma once
#include <stdexcept>
#include <string>

#include <c10/util/StringUtil.h>

namespace prunus {

/// What went wrong, as far as the caller can act on it. Each kind has one exit code (exit_code()).
enum class ErrorKind {
  InvalidArgument,  ///< the request makes no sense: option out of range, plan for another model (2)
  Corrupt,      ///< an input file breaks its own format or contradicts another               (3)
  NotFound,     ///< an input file or entry is missing                                        (3)
  Unsupported,  ///< valid input whose mathematics Prunus does not implement                  (4)
  Numeric,      ///< a computation gave NaN, infinity or a singular matrix                    (5)
  OutputCheck,  ///< what was written differs from what was meant                             (6)
  Io,           ///< the operating system refused: disk full, permission, read error          (1)
  Interrupted,  ///< the user pressed Ctrl-C                                                (130)
};

/// The one exception type of the library. The message says where, what, got, expected, and a hint.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Process exit code of an error kind (docs/design.md section 6).
int exit_code(ErrorKind kind);

/// Lower-case name for messages and logs, e.g. "corrupt".
const char* error_kind_name(ErrorKind kind);

}  // namespace prunus

/// Throws prunus::Error of the given kind when the condition is false. The rest is a message in
/// parts, joined as by c10::str and built only on failure.
#define PRUNUS_CHECK(condition, kind, ...)                                                       \
  do {                                                                                           \
    if (!(condition)) throw ::prunus::Error(::prunus::ErrorKind::kind, ::c10::str(__VA_ARGS__)); \
  } while (false)

#define PRUNUS_FAIL(kind, ...) \
  throw ::prunus::Error(::prunus::ErrorKind::kind, ::c10::str(__VA_ARGS__))
