#include "prunus/pipeline/rotate_plan.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"
#include "prunus/calib/stream_moments.h"
#include "prunus/graph/rotate.h"
#include "prunus/job/run_record.h"

namespace prunus {
namespace {

// What a turned model of so many channels takes; its weights are not looked at.
class RotatedSizes {
 public:
  explicit RotatedSizes(const Model& model) : model_(model) {}

  int64_t parameters(int64_t channels) const {
    return Model(rotated_config(model_.config(), channels), model_.shared_source()).parameters();
  }
  int64_t bytes(int64_t channels) const {
    const Model sized(rotated_config(model_.config(), channels), model_.shared_source());
    int64_t bytes = 0;
    for (const TensorInfo& tensor : sized.tensors()) {
      const TensorInfo& before = model_.tensor(tensor.spec->role, tensor.layer);
      bytes += c10::multiply_integers(tensor.shape) *
               static_cast<int64_t>(c10::elementSize(model_.source().dtype(before)));
    }
    return bytes;
  }

 private:
  const Model& model_;
};

int64_t multiple_of(const PruneRecipe& recipe) { return std::max<int64_t>(1, recipe.round_to); }

// The most channels with which the model is no larger than the target.
int64_t channels_for_target(const Model& model, const PruneRecipe& recipe, int64_t least) {
  const RotatedSizes sizes(model);
  const auto size = [&](int64_t channels) {
    return recipe.target_params ? sizes.parameters(channels) : sizes.bytes(channels);
  };
  const int64_t target = recipe.target_params ? *recipe.target_params : *recipe.target_bytes;
  const int64_t multiple = multiple_of(recipe);
  int64_t fits = (least + multiple - 1) / multiple;
  PRUNUS_CHECK(fits * multiple <= model.config().hidden_size && size(fits * multiple) <= target,
               InvalidArgument, recipe.target_params ? "--target-params " : "--target-bytes ",
               target, " is out of reach: with ", fits * multiple, " of ",
               model.config().hidden_size, " channels the model would have ",
               size(fits * multiple));
  int64_t beyond = model.config().hidden_size / multiple + 1;
  while (beyond - fits > 1) {
    const int64_t middle = fits + (beyond - fits) / 2;
    (size(middle * multiple) <= target ? fits : beyond) = middle;
  }
  return fits * multiple;
}

// n − trunc(n·(1 − ratio)) go, as of every set of channels.
int64_t channels_for_ratio(int64_t channels, const PruneRecipe& recipe, int64_t least) {
  const auto kept = static_cast<int64_t>(static_cast<double>(channels) * (1 - recipe.ratio));
  const int64_t multiple = multiple_of(recipe);
  return std::clamp((std::max(kept, least) + multiple - 1) / multiple * multiple, least, channels);
}

}  // namespace

PlanResult rotation_plan(const Model& model, const PruneRecipe& recipe) {
  check_rotatable(model);
  const int64_t channels = model.config().hidden_size;
  const int64_t least = model.config().family->norm == NormKind::Layer ? 2 : 1;
  const int64_t kept = recipe.has_target() ? channels_for_target(model, recipe, least)
                                           : channels_for_ratio(channels, recipe, least);
  PlanResult result;
  result.ratio = 1 - static_cast<double>(kept) / static_cast<double>(channels);
  result.plan.method = c10::str(recipe.name, ", ", kept, " of ", channels,
                                " directions of the residual stream, seed ", recipe.seed);
  result.plan.rotation = {.channels = channels, .kept = kept, .calibration = {}};
  const int64_t left = RotatedSizes(model).parameters(kept);
  log_info(c10::str("ratio ", result.ratio, " will leave ", kept, " of ", channels, " channels, ",
                    human_count(left), " of ", human_count(model.parameters()), " parameters"));
  if (kept == channels && recipe.ratio > 0) {
    log_warning("no channel is removed: the ratio is less than one, or --round-to keeps them all");
  }
  return result;
}

RotatedModel rotate_by_plan(const Model& cut, const Plan& plan, const std::vector<TokenBatch>& rows,
                            at::Device device) {
  check_rotatable(cut);
  const PlanRotation& rotation = *plan.rotation;
  PRUNUS_CHECK(cut.config().hidden_size == rotation.channels, InvalidArgument,
               "the plan turns a residual stream of ", rotation.channels,
               " channels, the model's has ", cut.config().hidden_size,
               "; the plan was made for another model");
  const StreamBasis basis =
      stream_basis(stream_moments(cut, rows, device), rotation.kept, cut.config().family->norm);
  return {std::make_unique<Model>(rotated(cut, basis.vectors)), basis.energy};
}

Json rotation_json(const PlanRotation& rotation, double energy) {
  return {{"channels_before", rotation.channels}, {"channels", rotation.kept}, {"energy", energy}};
}

RotatedModel turn_stream(const Model& cut, const Plan& plan, RunRecord& record, at::Device device,
                         const std::function<std::vector<TokenBatch>()>& rows) {
  RotatedModel turned;
  if (!plan.rotation) return turned;
  turned = record.stage("rotate", [&] { return rotate_by_plan(cut, plan, rows(), device); });
  record.set("rotation", rotation_json(*plan.rotation, turned.energy));
  return turned;
}

}  // namespace prunus
