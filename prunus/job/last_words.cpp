#include "prunus/job/last_words.h"

namespace prunus {

std::string last_words(const std::string& kept, ErrorKind kind) {
  if (!kept.empty()) {
    return c10::str("; the state is kept in ", kept,
                    ": the same command with --resume goes on from there");
  }
  return kind == ErrorKind::Interrupted ? "; nothing was written" : "";
}

}  // namespace prunus
