#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/budget/budget.h"
#include "prunus/calib/gradient_collector.h"
#include "prunus/criteria/criterion.h"
#include "prunus/graph/groups.h"

namespace prunus {

/// Where a published program differs from what its method means, somebody must choose: the choices
/// in one place (docs/llm-pruner.md). Everything else of the pipeline is the same for all.
struct Conventions {
  std::string_view name;  ///< of --compat; empty: Prunus' own
  /// Scores of one tensor's slices, [size of the cut dimension] → [units, width], FP64 on the CPU.
  at::Tensor (*fold)(const at::Tensor& slices, const GroupSet& set, const GroupMember& member);
  /// The order of a set's scored members, for the reductions first, second, last; null: the data's.
  void (*order)(const GroupSet& set, std::vector<size_t>& members) = nullptr;
  /// Whether a member that could be scored is; null: all are.
  bool (*scores)(const GroupSet& set, const GroupMember& member, const Needs& needs) = nullptr;
  std::string_view uniform = "uniform";        ///< budget of a local ranking
  std::string_view global = "global";          ///< budget of a ranking over all sets
  std::string_view weights_reduction = "sum";  ///< of criteria that look at the weights alone
  Biases biases = Biases::Counted;
  bool draws_per_slice = false;    ///< random scores: one for each slice, added; else one per unit
  bool reference_windows = false;  ///< calibration text is cut as that program cuts it
};

namespace conventions {
extern const Conventions own;
extern const Conventions llm_pruner;
}  // namespace conventions

/// By the name of --compat; empty: own. Throws InvalidArgument listing the known names.
const Conventions& find_conventions(std::string_view name);

}  // namespace prunus
