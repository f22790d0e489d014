#pragma once
#include <cstdint>

#include "prunus/base/option.h"
#include "prunus/model/matmul.h"

namespace prunus {

/// Options of the program, which a job has no part in.
struct ProgramOptions {
  bool json = false;    ///< print the record instead of a summary
  int64_t threads = 0;  ///< 0: every core that this process may use
  bool quiet = false;   ///< nothing on stderr but errors
  Matmul matmul = Matmul::Auto;
};
extern const OptionTable<ProgramOptions> program_table;

/// Without --json: for commands that print no record of a run.
extern const OptionTable<ProgramOptions> process_table;

/// Their keys in a recipe.
inline constexpr const char* kProgramKeys[] = {"json", "threads", "quiet", "matmul"};

}  // namespace prunus
