#pragma once
#include "prunus/base/option.h"
#include "prunus/eval/bench_run.h"
#include "prunus/eval/run.h"

namespace prunus {

/// Every option of `prunus eval` and `prunus bench` but where the program writes the record.
extern const OptionTable<EvalJob> eval_table;
extern const OptionTable<BenchJob> bench_table;

}  // namespace prunus
