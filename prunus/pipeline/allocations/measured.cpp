#include <algorithm>
#include <cmath>
#include <span>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/stream.h"
#include "prunus/model/decoder.h"
#include "prunus/pipeline/divergence.h"
#include "prunus/pipeline/zero_allocation.h"
#include "prunus/solve/sparse_walk.h"

namespace prunus::allocations {
namespace {

// By how much ln KL grows with the share of zeros; measured at 50 to 70 % on SmolLM2-135M.
constexpr double kSlope = 7.5;
constexpr double kReach = 0.15;
constexpr int64_t kVocabulary = 8192;
constexpr int64_t kTokens = 1024;        // judged on
constexpr int64_t kSolvedTokens = 8192;  // solved on

// Matrices that are measured together.
constexpr Role kQueryKey[] = {Role::QProj, Role::KProj};
constexpr Role kValueOutput[] = {Role::VProj, Role::OProj};
constexpr Role kInner[] = {Role::GateProj, Role::UpProj, Role::SharedGateProj, Role::SharedUpProj};
constexpr Role kDown[] = {Role::DownProj, Role::SharedDownProj};
constexpr std::span<const Role> kGroups[] = {kQueryKey, kValueOutput, kInner, kDown};

bool in(std::span<const Role> group, Role role) {
  return std::find(group.begin(), group.end(), role) != group.end();
}

// Held-out text through the dense model, and through one that differs in one group, from the layer
// of that group on.
class GroupMeter {
 public:
  GroupMeter(const Model& dense, at::Device device, const std::vector<TokenBatch>& text)
      : dense_(dense),
        device_(device),
        decoder_(dense.config()),
        base_(BlockStream(dense, device).embed(text)) {}

  // The layer's solved matrices: a stream for each group of them.
  void pass(int layer, const std::vector<OverlayTensor>& solved) {
    const BlockWeights weights = dense_.load_block(layer, device_);
    for (Candidate& one : candidates_) advance(layer, weights, one.hidden);
    for (const auto group : kGroups) {
      Candidate one{layer, group, base_, 0};
      BlockWeights changed = weights;
      for (const OverlayTensor& tensor : solved) {
        const Role role = tensor.tensor->spec->role;
        if (!in(group, role)) continue;
        changed[role] = tensor.value.to(at::TensorOptions(device_).dtype(weights[role].dtype()));
        one.weights += tensor.value.numel();
      }
      if (one.weights == 0) continue;
      advance(layer, changed, one.hidden);
      candidates_.push_back(std::move(one));
    }
    advance(layer, weights, base_);
    dense_.release_block(layer);
  }

  struct Candidate {
    int layer = 0;
    std::span<const Role> group;
    std::vector<at::Tensor> hidden;
    int64_t weights = 0;
  };
  const std::vector<Candidate>& candidates() const { return candidates_; }
  const std::vector<at::Tensor>& base() const { return base_; }

 private:
  void advance(int layer, const BlockWeights& weights, std::vector<at::Tensor>& hidden) const {
    for (at::Tensor& one : hidden) {
      one = to_host(decoder_.block(layer, weights, one.to(device_)));
    }
    check_interrupted();
  }

  const Model& dense_;
  at::Device device_;
  Decoder decoder_;
  std::vector<at::Tensor> base_;
  std::vector<Candidate> candidates_;
};

// KL of every group pruned alone at the target, ln KL taken to be linear in the share of zeros: at
// the least sum, all groups lose as much by one weight more.
std::vector<ZeroShare> shares(const AllocationRequest& request) {
  const PruneRecipe& recipe = request.recipe;
  const std::vector<TokenBatch> text = first_tokens(request.held_out(), kTokens);
  const std::vector<TokenBatch> rows = first_tokens(request.calibration, kSolvedTokens);
  SparseTask task{.solver = recipe.sparse_solver,
                  .options = recipe.sparse_options,
                  .pattern = recipe.pattern,
                  .layers = {0, request.model.layer_count()},
                  .zeros = zero_counter(request.model, {}, recipe.pattern, recipe.sparsity),
                  .trial = true};
  // Behind the dense model the two streams are one.
  task.options.dense_target = false;
  task.options.residual_correction = 0;
  task.options.token_weights = false;
  if (!recipe.solver_chooses()) {
    task.score = recipe.criterion->element;
    task.needs = recipe.criterion->needs;
  }
  GroupMeter meter(request.model, recipe.device, text);
  solve_sparse(request.model, rows, recipe.device, task,
               [&](int layer, const std::vector<OverlayTensor>& solved) {
                 meter.pass(layer, recipe.attn_layers.contains(layer)
                                       ? solved
                                       : std::vector<OverlayTensor>());
               });
  Divergence divergence(request.model, {&rows, &text}, kVocabulary, recipe.device);
  divergence.set_dense(meter.base());
  std::vector<ZeroShare> shares;
  for (const GroupMeter::Candidate& one : meter.candidates()) {
    const double damage = divergence.of(one.hidden);
    PRUNUS_CHECK(std::isfinite(damage), Numeric, "--allocation measured: layer ", one.layer,
                 ": the divergence is not finite");
    const double each = std::max(damage, 1e-9) / static_cast<double>(one.weights);
    for (const Role role : maskable_roles(request.model, one.layer)) {
      if (in(one.group, role)) shares.push_back({one.layer, role, -std::log(each) / kSlope});
    }
  }
  return shares;
}

}  // namespace

extern const ZeroAllocation measured{
    .name = "measured",
    .source = "this project: docs/methods.md",
    .summary =
        "divergence of the dense model with q and k, v and o, gate and up, or down of one layer "
        "pruned alone, on held-out text; needs a solver",
    .reach = kReach,
    .measures = true,
    .shares = shares};

}  // namespace prunus::allocations
