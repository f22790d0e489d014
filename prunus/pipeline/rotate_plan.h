#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/pipeline/prune.h"

namespace prunus {

class RunRecord;

/// How many channels the residual stream keeps: hidden_size less the recipe's ratio, rounded up to
/// a multiple of its round_to, or as many as its target leaves room for, rounded down. Looks at no
/// text: which directions they are comes out when the plan is carried out. Throws as
/// check_rotatable(); InvalidArgument where the target is out of reach.
PlanResult rotation_plan(const Model& model, const PruneRecipe& recipe);

/// A model whose residual stream was turned and cut.
struct RotatedModel {
  std::unique_ptr<Model> model;
  double energy = 0;  ///< StreamBasis::energy
};

/// Carries out the plan's rotation on `cut`, what its keeps leave: the second moments of the stream
/// on these rows, their first directions, the model in them. Throws as check_rotatable(),
/// stream_moments(), stream_basis(); InvalidArgument for a plan of another model.
RotatedModel rotate_by_plan(const Model& cut, const Plan& plan, const std::vector<TokenBatch>& rows,
                            at::Device device);

/// Of run.json: channels before and after, and the share of the second moments that is kept.
Json rotation_json(const PlanRotation& rotation, double energy);

/// The same as a stage of `record`, which is told, on what `rows` draws; nothing where the plan has
/// no rotation.
RotatedModel turn_stream(const Model& cut, const Plan& plan, RunRecord& record, at::Device device,
                         const std::function<std::vector<TokenBatch>()>& rows);

}  // namespace prunus
