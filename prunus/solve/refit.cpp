#include "prunus/solve/refit.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/layer_loop.h"
#include "prunus/model/matmul.h"
#include "prunus/solve/part_tap.h"
#include "prunus/solve/two_streams.h"

namespace prunus {
namespace {

// Inputs of a matrix that are kept between adding up their sums and running it again.
constexpr int64_t kHeldBytes = int64_t{1} << 30;
// A target is brought in front of a norm where the norm's gain is not all but 0.
constexpr double kLeastGain = 1e-3;

at::Tensor mean_square(const at::Tensor& x) { return x.square().mean(-1, true); }

// The sums of one matrix's tokens.
class Sums {
 public:
  explicit Sums(bool intercept) : intercept_(intercept) {}

  // x [tokens, in], t [tokens, out], weights [tokens, 1] or undefined.
  void add(at::Tensor x, at::Tensor t, const at::Tensor& weights) {
    if (intercept_) x = at::cat({x, at::ones({x.size(0), 1}, x.options())}, 1);
    if (weights.defined()) {
      const at::Tensor roots = weights.sqrt();
      x = x * roots;
      t = t * roots;
    }
    square_ += t.square().sum(at::kDouble).item<double>();
    accumulate(gram_, second_moments(x));
    accumulate(cross_, product(t.t(), x));
  }

  SolveRequest request(const at::Tensor& weight, const at::Tensor& bias,
                       const SolverOptions& options) const {
    return {.weight = weight.to(at::kCPU, at::kDouble),
            .bias = bias.defined() ? bias.to(at::kCPU, at::kDouble) : at::Tensor(),
            .gram = gram_.to(at::kCPU),
            .cross = cross_.to(at::kCPU),
            .square = square_,
            .options = options};
  }

 private:
  // A batch's product is FP32, the sum of all FP64.
  static void accumulate(at::Tensor& sum, const at::Tensor& part) {
    const at::Tensor more = part.to(at::kDouble);
    if (sum.defined()) {
      sum.add_(more);
    } else {
      sum = more;
    }
  }

  bool intercept_;
  double square_ = 0;
  at::Tensor gram_;
  at::Tensor cross_;
};

class Refit {
 public:
  Refit(const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
        const std::vector<TokenBatch>& rows, at::Device device, const Solver& solver,
        const SolverOptions& options)
      : pruned_(pruned),
        solver_(solver),
        options_(options),
        streams_(pruned, dense, dense_layers, rows, device, options.residual_correction) {}

  std::vector<OverlayTensor> layer(int layer, BlockWeights& weights,
                                   const std::vector<OverlayTensor>& restored,
                                   std::vector<RefitResult>& results) {
    layer_ = layer;
    weights_ = &weights;
    streams_.enter(layer);
    std::vector<OverlayTensor> solved;
    for (const Part part : kParts) {
      const PartRoles roles = roles_of(part);
      if (!weights[roles.weight].defined()) {  // a part that was dropped
        for (size_t i = 0; i < streams_.batches(); ++i) streams_.target(part, i);
      } else if (!refits(pruned_, layer, part == Part::Attention)) {
        pass(part);
      } else {
        results.push_back(refit(part, restored, solved));
      }
    }
    streams_.leave();
    return solved;
  }

 private:
  void pass(Part part) {
    const PartForward forward{streams_.decoder(), layer_, part};
    for (size_t i = 0; i < streams_.batches(); ++i) {
      streams_.target(part, i);
      streams_.advance(i, forward(*weights_, streams_.inputs()[i].to(streams_.device())));
      check_interrupted();
    }
  }

  // What the matrix should give, and by how much its tokens count.
  struct Wanted {
    at::Tensor target;   // [tokens, out]
    at::Tensor weights;  // [tokens, 1], or undefined
  };

  Wanted wanted(Part part, size_t i) {
    const PartRoles roles = roles_of(part);
    PartTap dense(roles.weight, true);
    const at::Tensor& gain = (*weights_)[roles.post_norm];
    const bool normed = gain.defined();
    const bool alone = !streams_.decoder_config().pre_norm;
    const at::Tensor added =
        streams_.target(part, i, normed || alone ? &dense : nullptr).flatten(0, 1);
    const at::Tensor stream = streams_.hidden()[i].to(streams_.device()).flatten(0, 1);
    Wanted wanted;
    if (options_.token_weights) {
      const at::Tensor size = mean_square(alone ? stream : stream + added);
      wanted.weights = 1 / size.clamp_min(1e-6 * size.mean().item<double>());
    }
    wanted.target = added;
    if (alone) wanted.target = dense.output.flatten(0, 1).to(at::kFloat);
    if (normed) {
      const at::Tensor raw = dense.output.flatten(0, 1).to(at::kFloat);
      const at::Tensor scale = streams_.decoder().gain(gain);
      const at::Tensor size = mean_square(raw);
      const double least = kLeastGain * scale.abs().max().item<double>();
      const at::Tensor direction =
          at::where(scale.abs() > least, added / scale, raw * size.clamp_min(1e-30).rsqrt());
      const at::Tensor length = mean_square(direction).clamp_min(1e-30);
      wanted.target = direction * (size / length).sqrt();
      // An error here counts behind the norm, which divides by the size.
      const at::Tensor by = length / size.clamp_min(1e-30);
      wanted.weights = wanted.weights.defined() ? wanted.weights * by : by;
    }
    return wanted;
  }

  RefitResult refit(Part part, const std::vector<OverlayTensor>& restored,
                    std::vector<OverlayTensor>& solved) {
    const PartRoles roles = roles_of(part);
    const at::Tensor weight = (*weights_)[roles.weight];
    const at::Tensor bias = (*weights_)[roles.bias];
    const PartForward forward{streams_.decoder(), layer_, part};
    const bool plain =
        !(*weights_)[roles.post_norm].defined() && streams_.decoder_config().pre_norm;
    Sums sums(bias.defined());
    Hidden held;
    int64_t bytes = 0;
    for (size_t i = 0; i < streams_.batches(); ++i) {
      PartTap tap(roles.weight, false);
      forward(*weights_, streams_.inputs()[i].to(streams_.device()), &tap);
      const Wanted target = wanted(part, i);
      sums.add(tap.input.flatten(0, 1).to(at::kFloat), target.target, target.weights);
      bytes += tap.input.numel() * tap.input.element_size();
      if (plain && bytes <= kHeldBytes) held.push_back(to_host(tap.input));
      check_interrupted();
    }
    const SolveRequest request = sums.request(weight, bias, options_);
    const double whole = std::max(request.square, 1e-300);
    RefitResult result{
        .layer = layer_,
        .part = part_name(part),
        .error_before = squared_error(request, {request.weight, request.bias}) / whole};
    const Solved values =
        restored.empty() ? rounded(solver_.solve(request), roles) : of_layer(restored, roles);
    result.error_after = squared_error(request, values) / whole;
    PRUNUS_CHECK(std::isfinite(result.error_before) && std::isfinite(result.error_after), Numeric,
                 "solver ", solver_.name, ": layer ", layer_, " ", result.part,
                 ": the error is not finite");
    put(values, roles, solved);
    for (size_t i = 0; i < streams_.batches(); ++i) {
      const at::Tensor& now = (*weights_)[roles.weight];
      const at::Tensor output =
          i < held.size()
              ? apply_linear(held[i].to(streams_.device()), now, (*weights_)[roles.bias])
              : forward(*weights_, streams_.inputs()[i].to(streams_.device()));
      streams_.advance(i, output);
      check_interrupted();
    }
    return result;
  }

  const TensorInfo* info(Role role) const { return &pruned_.tensor(role, layer_); }

  // As the file will have them.
  Solved rounded(const Solved& values, const PartRoles& roles) const {
    const auto round = [&](const at::Tensor& value, Role role) {
      if (!value.defined()) return value;
      return value.to(pruned_.source().dtype(*info(role))).to(at::kDouble);
    };
    return {round(values.weight, roles.weight), round(values.bias, roles.bias)};
  }

  Solved of_layer(const std::vector<OverlayTensor>& restored, const PartRoles& roles) const {
    const auto find = [&](Role role) {
      const TensorInfo* wanted = info(role);
      for (const OverlayTensor& one : restored) {
        if (one.tensor->name != wanted->name) continue;
        if (one.value.sizes() == at::IntArrayRef(wanted->shape)) return one.value.to(at::kDouble);
      }
      PRUNUS_FAIL(Corrupt, "solver ", solver_.name, ": what was kept of layer ", layer_, " lacks '",
                  wanted->name, "' ", at::IntArrayRef(wanted->shape),
                  "; was it made with other options?");
    };
    Solved values{find(roles.weight), {}};
    if ((*weights_)[roles.bias].defined()) values.bias = find(roles.bias);
    return values;
  }

  void put(const Solved& values, const PartRoles& roles, std::vector<OverlayTensor>& solved) {
    const auto replace = [&](Role role, const at::Tensor& value) {
      if (!value.defined()) return;
      (*weights_)[role] = value.to(streams_.device(), pruned_.precision());
      solved.push_back({info(role), value.to(at::kFloat)});
    };
    replace(roles.weight, values.weight);
    replace(roles.bias, values.bias);
  }

  const Model& pruned_;
  const Solver& solver_;
  const SolverOptions& options_;
  TwoStreams streams_;
  BlockWeights* weights_ = nullptr;
  int layer_ = 0;
};

}  // namespace

bool refits(const Model& pruned, int layer, bool attention) {
  return attention || pruned.config().layers[static_cast<size_t>(layer)].experts == 0;
}

std::vector<RefitResult> refit_outputs(
    const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
    const std::vector<TokenBatch>& rows, at::Device device, const Solver& solver,
    const SolverOptions& options,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored) {
  PRUNUS_CHECK(std::isfinite(options.ridge) && options.ridge >= 0, InvalidArgument,
               "the solver's ridge is ", options.ridge, ", expected 0 or more");
  PRUNUS_CHECK(options.residual_correction >= 0 && options.residual_correction <= 1,
               InvalidArgument, "the solver's residual correction is ", options.residual_correction,
               ", expected [0, 1]");
  check_two_streams(pruned, dense, dense_layers, rows, "solver");
  const at::NoGradGuard no_grad;
  Refit refit(pruned, dense, dense_layers, rows, device, solver, options);
  Progress progress("solve: layers", pruned.layer_count());
  std::vector<RefitResult> results;
  const auto act = [&](int layer, BlockWeights& weights) {
    const auto kept = restored ? restored(layer) : std::vector<OverlayTensor>();
    const auto solved = refit.layer(layer, weights, kept, results);
    if (kept.empty()) done(layer, solved);
    if (!results.empty()) {
      progress.note(c10::str("layer ", layer, " ", results.back().part, ", error ",
                             results.back().error_before, " → ", results.back().error_after));
    }
    progress.step();
  };
  for_each_layer(pruned, device, {0, pruned.layer_count()}, LayerOrder::FirstToLast, act);
  return results;
}

}  // namespace prunus
