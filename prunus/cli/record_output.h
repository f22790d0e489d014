#pragma once
#include <string>

#include "prunus/base/option.h"

namespace prunus {

/// Where a command that makes no directory puts its record.
struct RecordOutput {
  std::string out;      ///< the record; empty: nowhere
  std::string samples;  ///< eval: every item's scores
  bool resume = false;  ///< eval
  bool force = false;
};

extern const OptionTable<RecordOutput> eval_output_table;
extern const OptionTable<RecordOutput> bench_output_table;
extern const OptionTable<RecordOutput> verify_output_table;

}  // namespace prunus
