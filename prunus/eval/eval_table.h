#pragma once
#include "prunus/base/option.h"
#include "prunus/eval/bench_run.h"
#include "prunus/eval/run.h"
#include "prunus/eval/verify.h"

namespace prunus {

/// Every option of `prunus eval`, `bench` and `verify` but where the program writes the record.
extern const OptionTable<EvalJob> eval_table;
extern const OptionTable<BenchJob> bench_table;
extern const OptionTable<VerifyJob> verify_table;

}  // namespace prunus
