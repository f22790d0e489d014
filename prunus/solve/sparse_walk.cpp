#include "prunus/solve/sparse_walk.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/stream.h"
#include "prunus/model/matmul.h"
#include "prunus/model/mixture.h"
#include "prunus/solve/part_tap.h"

namespace prunus {
namespace {

// Inputs of an output matrix that are kept between adding up their sums and running it.
constexpr int64_t kKeptInputBytes = int64_t{1} << 30;

// Of the matrices that read an input, the one that comes first.
Role first_reader(Role role) {
  switch (role) {
    case Role::KProj:
    case Role::VProj:
      return Role::QProj;
    case Role::GateProj:
      return Role::UpProj;
    case Role::SharedUpProj:
      return Role::SharedGateProj;
    default:
      return role;
  }
}

bool gives_output(Role role) {
  return role == Role::OProj || role == Role::DownProj || role == Role::SharedDownProj;
}

// An input of a layer's products: by its first reader, and the expert whose it is.
struct InputKey {
  Role reader = Role::QProj;
  int expert = -1;
  auto operator<=>(const InputKey&) const = default;
};

using Inputs = std::map<InputKey, at::Tensor>;  // [tokens, in]

// Half of a part: the matrices that read what enters it, or those that give what leaves it.
struct PartStage {
  Part part = Part::Attention;
  bool output = false;

  bool has(Role role) const {
    const bool attention = stage_of(role) <= Stage::Output;
    return attention == (part == Part::Attention) && gives_output(role) == output;
  }
};

// Shows what enters the matrices of a stage.
class StageTap : public LinearHook {
 public:
  struct Seen {};  // thrown where nothing behind the stage is needed
  StageTap(PartStage stage, bool stops) : stage_(stage), stops_(stops) {}

  Experts experts() const override { return Experts::All; }
  at::Tensor linear(Role role, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& bias) override {
    look(role, -1, x);
    return apply_linear(x, weight, bias);
  }
  at::Tensor expert_linear(Role role, const at::Tensor& x, const at::Tensor& weight,
                           const ExpertPart& part) override {
    look(role, part.expert, x);
    return apply_linear(x, weight);
  }

  Inputs inputs;

 private:
  void look(Role role, int expert, const at::Tensor& x) {
    const bool router = role == Role::Router || role == Role::SharedRouter;
    if (router || first_reader(role) != role || !stage_.has(role)) return;
    inputs[{role, expert}] = x.flatten(0, -2);
    if (stops_) throw Seen();
  }

  PartStage stage_;
  bool stops_;
};

at::Tensor mean_of_squares(const at::Tensor& x) { return x.square().mean(-1, true); }

// What is added up of one input x.
struct InputSums {
  at::Tensor gram;   // Σ ω·x·xᵀ
  at::Tensor cross;  // Σ ω·l·xᵀ: l the dense model's input, or what comes out
  std::map<const Statistic*, StatisticSums> statistics;

  // x [tokens, in]; l [tokens, any] and weights [tokens, 1], or undefined.
  void add(const at::Tensor& x, const at::Tensor& l, const at::Tensor& weights) {
    if (x.size(0) == 0) {  // an expert that no token of the batch chose
      return accumulate(gram, at::zeros({x.size(1), x.size(1)}, x.options().dtype(at::kFloat)));
    }
    const at::Tensor roots = weights.defined() ? weights.sqrt() : at::Tensor();
    const auto weighed = [&](const at::Tensor& of) { return roots.defined() ? of * roots : of; };
    const at::Tensor input = weighed(x.to(at::kFloat));
    accumulate(gram, second_moments(input));
    if (l.defined()) accumulate(cross, product(weighed(l.to(at::kFloat)).t(), input));
  }

 private:
  static void accumulate(at::Tensor& sum, const at::Tensor& more) {
    if (sum.defined()) {
      sum.add_(more);
    } else {
      sum = more;
    }
  }
};

class SparseWalk {
 public:
  SparseWalk(const Model& dense, const std::vector<TokenBatch>& rows, at::Device device,
             const SparseTask& task)
      : model_(dense),
        exact_(dense),
        device_(device),
        task_(task),
        hidden_(BlockStream(dense, device).embed(rows)) {
    exact_.set_precision(at::kFloat);
    if (task.options.two_streams()) dense_hidden_ = hidden_;
  }

  std::vector<OverlayTensor> layer(int layer, BlockWeights& weights,
                                   const std::vector<OverlayTensor>& restored,
                                   std::vector<SparseResult>& results) {
    layer_ = layer;
    weights_ = &weights;
    dense_weights_ = weights;
    solved_.clear();
    results_ = &results;
    if (model_.config().parallel_residual) {
      entered_ = hidden_;
      dense_entered_ = dense_hidden_;
    }
    solves_ = restored.empty();
    for (const OverlayTensor& one : restored) put_restored(one);
    for (const Part part : kParts) {
      if (!has_part(model_, layer, part)) continue;
      if (!task_.layers.contains(layer)) {
        pass(part);
        continue;
      }
      if (solves_) solve_stage({part, false});
      solve_stage({part, true});
    }
    return std::move(solved_);
  }

 private:
  bool mixture(Part part) const {
    return part == Part::FeedForward &&
           model_.config().layers[static_cast<size_t>(layer_)].experts > 0;
  }
  bool two_streams() const { return !dense_hidden_.empty(); }
  bool parallel() const { return model_.config().parallel_residual; }
  at::Tensor input(size_t i) const { return (parallel() ? entered_ : hidden_)[i].to(device_); }
  at::Tensor dense_input(size_t i) const {
    return (parallel() ? dense_entered_ : dense_hidden_)[i].to(device_);
  }
  // What leaves the output matrix is what is added to the stream.
  bool plain(Part part) const {
    return model_.config().pre_norm && !dense_weights_[roles_of(part).post_norm].defined();
  }

  at::Tensor forward(Part part, const BlockWeights& weights, const at::Tensor& x,
                     LinearHook* hook = nullptr) const {
    return PartForward{decoder_, layer_, part}(weights, x, hook);
  }

  void add_to(Hidden& stream, size_t i, const at::Tensor& output) const {
    stream[i] = to_host(stream[i].to(device_) + output);
  }

  // A part that stays whole.
  void pass(Part part) {
    for (size_t i = 0; i < hidden_.size(); ++i) {
      add_to(hidden_, i, forward(part, *weights_, input(i)));
      if (two_streams()) {
        add_to(dense_hidden_, i, forward(part, dense_weights_, dense_input(i)));
      }
      check_interrupted();
    }
  }

  Inputs look(PartStage stage, const BlockWeights& weights, const at::Tensor& x) const {
    StageTap tap(stage, !mixture(stage.part));
    try {
      forward(stage.part, weights, x, &tap);
    } catch (const StageTap::Seen&) {
    }
    return std::move(tap.inputs);
  }

  // Of a layer that is solved already, the same operations take the streams past it: a resumed run
  // has the same bits.
  void solve_stage(PartStage stage) {
    std::map<InputKey, InputSums> sums;
    Hidden held;
    int64_t bytes = 0;
    const bool keeps = stage.output && plain(stage.part) && !mixture(stage.part);
    for (size_t i = 0; i < hidden_.size(); ++i) {
      const Inputs seen = solves_ || keeps ? look(stage, *weights_, input(i)) : Inputs();
      const Wanted wanted = stage.output ? wanted_output(stage.part, i) : wanted_input(stage, i);
      for (const auto& [key, x] : seen) {
        if (solves_) {
          InputSums& of = sums[key];
          of.add(x, wanted.left, wanted.weights);
          add_statistics(of, x);
        }
        if (!keeps) continue;
        bytes += x.numel() * x.element_size();
        if (bytes <= kKeptInputBytes) held.push_back(to_host(x));
      }
      check_interrupted();
    }
    for (const auto& [key, of] : sums) {
      solve_input(stage, key, of);
      check_interrupted();
    }
    take_over(stage);
    if (stage.output) advance(stage.part, held);
  }

  void add_statistics(InputSums& of, const at::Tensor& x) const {
    for (const Statistic* one : task_.needs.statistics) {
      if (one == nullptr) continue;
      StatisticSums& sums = of.statistics[one];
      one->add(sums.sums, x.to(at::kFloat), {});
      sums.tokens += x.size(0);
    }
  }

  // What the second moments are taken with, and how much tokens count.
  struct Wanted {
    at::Tensor left;
    at::Tensor weights;
  };

  Wanted wanted_input(PartStage stage, size_t i) const {
    if (!task_.options.dense_target || mixture(stage.part)) return {};
    return {look(stage, dense_weights_, dense_input(i)).begin()->second, {}};
  }

  // Takes the dense stream past the part.
  Wanted wanted_output(Part part, size_t i) {
    if (!two_streams()) return {};
    const PartRoles roles = roles_of(part);
    PartTap tap(roles.weight, true);
    const at::Tensor added =
        forward(part, dense_weights_, dense_input(i), mixture(part) ? nullptr : &tap);
    const at::Tensor before = dense_hidden_[i].to(device_);
    const at::Tensor behind = before + added;
    Wanted wanted;
    if (!mixture(part)) {
      if (task_.options.token_weights) {
        const at::Tensor size = mean_of_squares(behind.flatten(0, 1));
        wanted.weights = 1 / size.clamp_min(1e-6 * size.mean().item<double>());
        if (dense_weights_[roles.post_norm].defined()) {  // an error counts behind the norm
          wanted.weights =
              wanted.weights * mean_of_squares(added.flatten(0, 1)) /
              mean_of_squares(tap.output.flatten(0, 1).to(at::kFloat)).clamp_min(1e-30);
        }
      }
      if (task_.options.dense_target) {
        wanted.left = tap.output.flatten(0, 1).to(at::kFloat);
        const at::Tensor& bias = dense_weights_[roles.bias];
        if (bias.defined()) wanted.left = wanted.left - bias;
      }
      if (task_.options.residual_correction > 0 && plain(part)) {
        const at::Tensor missing =
            (before - hidden_[i].to(device_)).flatten(0, 1) * task_.options.residual_correction;
        wanted.left = wanted.left.defined() ? wanted.left + missing : missing;
      }
    }
    dense_hidden_[i] = to_host(behind);
    return wanted;
  }

  // The role's matrix before anything was done to it, in FP32.
  at::Tensor dense_matrix(Role role) const {
    const at::Tensor& weight = dense_weights_[role];
    return weight.scalar_type() == at::kFloat ? weight
                                              : exact_.load(model_.tensor(role, layer_), device_);
  }

  at::Tensor cross_of(const PartStage& stage, const InputSums& of, const at::Tensor& weight) const {
    if (!of.cross.defined()) return {};
    if (!stage.output) return product(weight, of.cross);
    return task_.options.dense_target ? of.cross : of.cross + product(weight, of.gram);
  }

  at::Tensor chosen(Role role, const at::Tensor& weight, const InputSums& of, int64_t zeros) const {
    if (task_.score == nullptr) return {};
    const LayerStatistics layer(role, of.statistics);
    WeightStats stats;
    stats.weight = weight;
    stats.role = role;
    stats.layer = &layer;
    return kept_without(task_.pattern, task_.score(stats), zeros);
  }

  // Solves the matrices that read an input, and leaves them in fresh_.
  void solve_input(PartStage stage, const InputKey& key, const InputSums& of) {
    SparseProblem problem{
        .gram = of.gram, .pattern = task_.pattern, .matrices = {}, .options = task_.options};
    std::vector<at::Tensor> places;
    std::vector<SparseResult*> results;
    for (const Role role : maskable_roles(model_, layer_)) {
      if (first_reader(role) != key.reader) continue;
      if (!fresh_.contains(role)) {
        fresh_[role] = dense_matrix(role).clone();
        fresh_result_[role] = {.layer = layer_, .role = role, .weights = fresh_[role].numel()};
      }
      const std::vector<ExpertPart> experts =
          experts_of(model_.config(), layer_, role, fresh_[role]);
      at::Tensor place = fresh_[role];
      if (key.expert >= 0) {
        const ExpertPart& part = experts.at(static_cast<size_t>(key.expert));
        place = part.part_of(place, part.dim);
      }
      const at::Tensor weight = place.contiguous();
      const int64_t zeros = task_.zeros(layer_, role, weight.size(0), weight.size(1));
      problem.matrices.push_back({.weight = weight,
                                  .cross = cross_of(stage, of, weight),
                                  .kept = chosen(role, weight, of, zeros),
                                  .zeros = zeros});
      places.push_back(place);
      results.push_back(&fresh_result_[role]);
    }
    const std::vector<SparseSolved> solved = solve(problem);
    for (size_t i = 0; i < solved.size(); ++i) {
      const double parts =
          static_cast<double>(results[i]->weights) / static_cast<double>(places[i].numel());
      results[i]->zeros += solved[i].kept.numel() - solved[i].kept.sum().item<int64_t>();
      results[i]->error +=
          relative_loss(of.gram, problem.matrices[i].weight, solved[i].weight) / parts;
      places[i].copy_(solved[i].weight);
    }
  }

  std::vector<SparseSolved> solve(const SparseProblem& problem) const {
    if (problem.gram.diagonal().sum().item<double>() > 0) return task_.solver->solve(problem);
    std::vector<SparseSolved> solved;
    for (const SparseMatrix& matrix : problem.matrices) {
      const at::Tensor kept = kept_without(problem.pattern, matrix.weight.abs(), matrix.zeros);
      solved.push_back({matrix.weight * kept.to(matrix.weight.device()), kept});
    }
    return solved;
  }

  // Puts the stage's matrices in place of the dense ones, as the file will have them.
  void take_over(PartStage stage) {
    for (const Role role : maskable_roles(model_, layer_)) {
      if (!stage.has(role) || !fresh_.contains(role)) continue;
      const TensorInfo& tensor = model_.tensor(role, layer_);
      const at::Tensor value =
          fresh_[role].to(model_.source().dtype(tensor)).to(at::kCPU, at::kFloat);
      const SparseResult& result = fresh_result_[role];
      PRUNUS_CHECK(value.isfinite().all().item<bool>() && std::isfinite(result.error), Numeric,
                   "solver ", task_.solver->name, ": ", tensor.name,
                   ": the weights that were found are not finite");
      if (!task_.trial) put(role, value);
      solved_.push_back({&tensor, value});
      results_->push_back(result);
    }
    fresh_.clear();
    fresh_result_.clear();
  }

  void put(Role role, const at::Tensor& value) {
    (*weights_)[role] = value.to(at::TensorOptions(device_).dtype((*weights_)[role].dtype()),
                                 /*non_blocking=*/false, /*copy=*/true);
  }

  void put_restored(const OverlayTensor& one) {
    const std::vector<Role> roles = maskable_roles(model_, layer_);
    const Role role = one.tensor->spec->role;
    const bool known = one.tensor->layer == layer_ &&
                       std::find(roles.begin(), roles.end(), role) != roles.end() &&
                       one.value.sizes() == at::IntArrayRef(one.tensor->shape);
    PRUNUS_CHECK(known, Corrupt, "solver ", task_.solver->name, ": what was kept of layer ", layer_,
                 " has '", one.tensor->name, "' ", one.value.sizes(),
                 ", which is no matrix of it; was it made with other options?");
    put(role, one.value);
  }

  void advance(Part part, const Hidden& held) {
    const PartRoles roles = roles_of(part);
    for (size_t i = 0; i < hidden_.size(); ++i) {
      if (i < held.size()) {
        const at::Tensor output =
            apply_linear(held[i].to(device_), (*weights_)[roles.weight], (*weights_)[roles.bias]);
        add_to(hidden_, i, output.view(hidden_[i].sizes()));
      } else {
        add_to(hidden_, i, forward(part, *weights_, input(i)));
      }
      check_interrupted();
    }
  }

  const Model& model_;
  Model exact_;
  at::Device device_;
  const SparseTask& task_;
  Decoder decoder_{model_.config()};
  Hidden hidden_;        // x̂, of the model pruned so far
  Hidden dense_hidden_;  // x; empty where it is not asked for
  Hidden entered_;       // x̂ in front of the layer, where both parts read that
  Hidden dense_entered_;
  // Of the layer under way.
  int layer_ = 0;
  bool solves_ = true;
  BlockWeights* weights_ = nullptr;
  BlockWeights dense_weights_;
  std::map<Role, at::Tensor> fresh_;  // matrices of the stage, FP32
  std::map<Role, SparseResult> fresh_result_;
  std::vector<OverlayTensor> solved_;
  std::vector<SparseResult>* results_ = nullptr;
};

void check_sparse_task(const Model& dense, const std::vector<TokenBatch>& rows,
                       const SparseTask& task) {
  TORCH_INTERNAL_ASSERT(task.solver != nullptr && task.zeros != nullptr);
  TORCH_INTERNAL_ASSERT(task.solver->chooses || task.score != nullptr);
  const bool fits = task.solver->takes_cross ||
                    !(task.options.dense_target || task.options.residual_correction > 0);
  TORCH_INTERNAL_ASSERT(fits);
  PRUNUS_CHECK(!rows.empty(), InvalidArgument, "solver ", task.solver->name,
               ": got no rows of text");
  PRUNUS_CHECK(dense.precision() == at::kFloat || dense.precision() == at::kBFloat16,
               InvalidArgument, "solver ", task.solver->name,
               ": works in FP32, with products in FP32 or BF16, but the model is set to ",
               dense.precision());
}

}  // namespace

std::vector<Role> maskable_roles(const Model& model, int layer) {
  std::vector<Role> roles;
  for (const TensorInfo& tensor : model.tensors()) {
    const Role role = tensor.spec->role;
    const bool router = role == Role::Router || role == Role::SharedRouter;
    if (tensor.layer == layer && tensor.spec->rank == 2 && !router) roles.push_back(role);
  }
  return roles;
}

std::vector<SparseResult> solve_sparse(
    const Model& dense, const std::vector<TokenBatch>& rows, at::Device device,
    const SparseTask& task,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored) {
  check_sparse_task(dense, rows, task);
  const at::NoGradGuard no_grad;
  SparseWalk walk(dense, rows, device, task);
  Progress progress("solve: layers", dense.layer_count());
  std::vector<SparseResult> results;
  const auto act = [&](int layer, BlockWeights& weights) {
    const auto kept = restored ? restored(layer) : std::vector<OverlayTensor>();
    const auto solved = walk.layer(layer, weights, kept, results);
    if (!solved.empty()) {
      done(layer, solved);
      progress.note(c10::str("error of the last matrix ", results.back().error));
    }
    progress.step();
  };
  for_each_layer(dense, device, {0, dense.layer_count()}, LayerOrder::FirstToLast, act);
  return results;
}

}  // namespace prunus
