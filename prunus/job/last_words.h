#pragma once
#include <concepts>
#include <string>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"

namespace prunus {

/// "; the state is kept in KEPT: the same command with --resume goes on from there"; of an empty
/// KEPT "; nothing was written" after an interruption, else "".
std::string last_words(const std::string& kept, ErrorKind kind);

/// The one guard around every job: runs `work` and, whatever it throws, says at the end what is
/// left of it. `kept()` is asked then: the path of the state that a later run can go on from, or ""
/// where there is none. The message of an Error gets the words at its end; other exceptions a line
/// on stderr before them.
template <std::invocable Kept, typename Work>
auto with_last_words(Kept kept, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(error.kind(), error.what() + last_words(kept(), error.kind()));
  } catch (...) {
    log_info("failed" + last_words(kept(), ErrorKind::Io));
    throw;
  }
}

}  // namespace prunus
