#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "prunus/pipeline/allocate.h"
#include "prunus/pipeline/method.h"
#include "prunus/pipeline/options.h"
#include "prunus/pipeline/plan.h"
#include "prunus/pipeline/vocabulary.h"

namespace prunus {

struct PlanResult {
  Plan plan;
  /// Nats per token, of the first step; 0 where none was needed. Of Structure::Weight where the
  /// forward pass is looked at: of the model with its zeros (choose_masks).
  double calibration_loss = 0;
  double ratio = 0;         ///< as given, or as solved for the target
  std::string search = {};  ///< JSON of a search: what every part costs at its levels
};

/// Where a plan comes from and what it leaves behind. Any member may be empty.
struct PlanContext {
  /// Calibration windows of a step; needed where needs_calibration(recipe).
  std::function<std::vector<TokenBatch>(int64_t step)> calibration = {};
  /// Text for a search to judge on, none of it calibration's; needed where the budget measures.
  std::function<std::vector<TokenBatch>()> held_out = {};
  /// Where the step's block stream keeps its states; default: all in RAM.
  std::function<std::unique_ptr<StreamStore>(int64_t step)> store = {};
  int64_t ram_bytes = -1;  ///< for hidden states that no store keeps; −1: half of what is free
  /// A step's result from an earlier, interrupted process, and where to leave it.
  std::function<std::optional<PlanResult>(int64_t step)> finished = {};
  std::function<void(int64_t step, const PlanResult& result)> finish = {};
  /// What a walk of a search measured, as JSON, from an earlier process, and where to leave it.
  std::function<std::optional<std::string>(int64_t walk)> measured = {};
  std::function<void(int64_t walk, const std::string& json)> keep_measured = {};
  /// Folder where the masks go; needed for Structure::Weight.
  std::string mask_dir = {};
  /// The vocabulary and how a text uses it; needed for Structure::Vocab.
  const VocabularyUse* vocabulary = nullptr;
};

/// True where the recipe's criterion must see calibration text.
bool needs_calibration(const PruneRecipe& recipe);

/// Group, estimate, rank, as often as the recipe's steps say. Only reads the model. Says on stderr
/// what will be left before it begins, as far as that does not depend on the scores.
/// Throws InvalidArgument for options out of range; Numeric for scores that are not finite.
PlanResult plan_by(const Model& model, const PlanContext& context, const PruneRecipe& recipe);
/// By the options resolved for the model.
PlanResult make_plan(const Model& model, const PlanContext& context, const PruneOptions& options);
/// One step, everything in RAM.
PlanResult make_plan(const Model& model, const std::vector<TokenBatch>& batches,
                     const PruneOptions& options);

}  // namespace prunus
