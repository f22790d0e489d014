#pragma once
#include "prunus/base/option.h"
#include "prunus/recover/pretrain.h"
#include "prunus/recover/recover.h"

namespace prunus {

/// Every option of `prunus recover`. Defaults are the mode's and the preset's that are given; with
/// a teacher its distribution counts in full and the text a tenth; alpha is 2·r where only r is.
extern const OptionTable<RecoverJob> recover_table;
extern const OptionTable<MergeJob> merge_table;
extern const OptionTable<PretrainJob> train_table;

}  // namespace prunus
