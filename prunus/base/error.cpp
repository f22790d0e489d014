#include "prunus/base/error.h"

namespace prunus {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidArgument:
      return 2;
    case ErrorKind::Corrupt:
    case ErrorKind::NotFound:
      return 3;
    case ErrorKind::Unsupported:
      return 4;
    case ErrorKind::Numeric:
      return 5;
    case ErrorKind::OutputCheck:
      return 6;
    case ErrorKind::Io:
      return 1;
    case ErrorKind::Interrupted:
      return 130;
  }
  return 1;
}

const char* error_kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidArgument:
      return "invalid argument";
    case ErrorKind::Corrupt:
      return "corrupt";
    case ErrorKind::NotFound:
      return "not found";
    case ErrorKind::Unsupported:
      return "unsupported";
    case ErrorKind::Numeric:
      return "numeric";
    case ErrorKind::OutputCheck:
      return "output check";
    case ErrorKind::Io:
      return "i/o";
    case ErrorKind::Interrupted:
      return "interrupted";
  }
  return "unknown";
}

}  // namespace prunus
