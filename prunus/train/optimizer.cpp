#include "prunus/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

using Kind = OptimizerOptions::Kind;

constexpr std::pair<std::string_view, Kind> kOptimizerNames[] = {
    {"adamw", Kind::AdamW},
    {"muon", Kind::Muon},
};

bool in_unit(double value) { return value >= 0 && value < 1; }

void check_options(const OptimizerOptions& options) {
  PRUNUS_CHECK(in_unit(options.beta1) && in_unit(options.beta2) && in_unit(options.muon_momentum),
               InvalidArgument, "optimizer: beta1 ", options.beta1, ", beta2 ", options.beta2,
               ", momentum ", options.muon_momentum, ", expected each in [0, 1)");
  PRUNUS_CHECK(std::isfinite(options.eps) && options.eps > 0, InvalidArgument, "optimizer: eps is ",
               options.eps, ", expected a number above 0");
  PRUNUS_CHECK(std::isfinite(options.weight_decay) && options.weight_decay >= 0, InvalidArgument,
               "optimizer: weight decay is ", options.weight_decay, ", expected 0 or more");
}

void check_parameter(const Parameter& parameter) {
  const at::Tensor& value = parameter.value;
  PRUNUS_CHECK(value.defined(), InvalidArgument, "optimizer: '", parameter.name, "' has no value");
  PRUNUS_CHECK(value.scalar_type() == at::kFloat, InvalidArgument, "optimizer: '", parameter.name,
               "' is ", value.scalar_type(), ", expected Float");
  // The fused kernel walks the memory of value, gradient and moments side by side.
  PRUNUS_CHECK(value.is_leaf() && value.requires_grad() && value.is_contiguous(), InvalidArgument,
               "optimizer: '", parameter.name, "' is no contiguous leaf that requires a gradient");
  PRUNUS_CHECK(!parameter.hidden_matrix || value.dim() == 2, InvalidArgument, "optimizer: '",
               parameter.name, "' is ", value.sizes(), ", a hidden matrix has two axes");
  const auto [down, beside] = parameter.matrices;
  PRUNUS_CHECK(!parameter.hidden_matrix || (down > 0 && beside > 0 && value.size(0) % down == 0 &&
                                            value.size(1) % beside == 0),
               InvalidArgument, "optimizer: '", parameter.name, "' is ", value.sizes(),
               ", which is not ", down, " x ", beside, " matrices");
}

bool uses_muon(const Parameter& parameter, const OptimizerOptions& options) {
  return options.kind == Kind::Muon && parameter.hidden_matrix;
}

// Piece by piece: the norm of an FP32 tensor in FP64 may make an FP64 copy of it.
void append_norms(const at::Tensor& grad, std::vector<at::Tensor>& norms) {
  constexpr int64_t kPiece = int64_t{1} << 22;
  for (const at::Tensor& piece : grad.flatten().split(kPiece)) {
    norms.push_back(
        at::linalg_vector_norm(piece, 2, at::OptionalIntArrayRef{}, false, at::kDouble));
  }
}

// The nearest matrix with equal singular values, roughly: they end within about 0.7 to 1.2. The
// quintic's coefficients are those of Jordan 2024, steepest at zero.
at::Tensor orthogonal(const at::Tensor& matrix) {
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
  constexpr int kSteps = 5;
  const bool tall = matrix.size(0) > matrix.size(1);
  at::Tensor x = tall ? matrix.t() : matrix;  // the smaller Gram matrix
  x = x / (at::linalg_vector_norm(x) + 1e-20);
  for (int i = 0; i < kSteps; ++i) {
    const at::Tensor gram = at::mm(x, x.t());
    const at::Tensor quintic = at::addmm(gram, gram, gram, kB, kC);
    x = at::addmm(x, quintic, x, kA);
  }
  return tall ? x.t() : x;
}

// What Muon takes off one matrix; `grad` and its momentum together, scaled to the size of AdamW's.
at::Tensor muon_update(const at::Tensor& matrix) {
  const auto longest = static_cast<double>(std::max(matrix.size(0), matrix.size(1)));
  return orthogonal(matrix) * (0.2 * std::sqrt(longest));
}

void check_restorable(const at::Tensor& from, const at::Tensor& to) {
  PRUNUS_CHECK(from.defined() && from.sizes() == to.sizes(), Corrupt,
               "optimizer state: a tensor is ", from.defined() ? from.sizes() : at::IntArrayRef{},
               ", expected ", to.sizes(), "; the state belongs to another model");
  PRUNUS_CHECK(from.scalar_type() == to.scalar_type(), Corrupt, "optimizer state: a tensor is ",
               from.scalar_type(), ", expected ", to.scalar_type());
}

}  // namespace

Kind parse_optimizer(std::string_view name) {
  return parse_named(kOptimizerNames, name, "--optimizer");
}

std::string_view optimizer_name(Kind kind) { return name_of(kOptimizerNames, kind); }

Optimizer::Optimizer(std::vector<Parameter> parameters, OptimizerOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  const at::NoGradGuard no_grad;
  check_options(options_);
  std::set<std::string_view> names;
  for (const Parameter& parameter : parameters_) {
    check_parameter(parameter);
    PRUNUS_CHECK(names.insert(parameter.name).second, InvalidArgument, "optimizer: '",
                 parameter.name, "' is there twice");
    Moments moments{at::zeros_like(parameter.value), {}, {}};
    if (!uses_muon(parameter, options_)) {
      moments.second = at::zeros_like(parameter.value);
      moments.steps = at::zeros({}, parameter.value.options());
    }
    moments_.push_back(std::move(moments));
  }
}

double Optimizer::clip(double max_norm) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  for (const Parameter& parameter : parameters_) {
    if (parameter.value.grad().defined()) append_norms(parameter.value.grad(), norms);
  }
  if (norms.empty()) return 0;
  const double norm = at::linalg_vector_norm(at::stack(norms)).item<double>();
  if (max_norm > 0 && norm > max_norm && std::isfinite(norm)) {
    for (Parameter& parameter : parameters_) {
      at::Tensor grad = parameter.value.grad();
      if (grad.defined()) grad.mul_(max_norm / norm);
    }
  }
  return norm;
}

void Optimizer::step(double lr) {
  const at::NoGradGuard no_grad;
  adamw_step(true, lr);
  adamw_step(false, lr);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    if (uses_muon(parameter, options_) && parameter.value.grad().defined()) {
      muon_step(parameter, moments_[i], lr);
    }
  }
}

void Optimizer::adamw_step(bool decay, double lr) {
  std::vector<at::Tensor> values, grads, first, second, steps;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& value = parameters_[i].value;
    if (parameters_[i].decay != decay || uses_muon(parameters_[i], options_)) continue;
    if (!value.grad().defined()) continue;
    values.push_back(value);
    grads.push_back(value.grad().contiguous());
    first.push_back(moments_[i].first);
    second.push_back(moments_[i].second);
    steps.push_back(moments_[i].steps.add_(1));
  }
  if (values.empty()) return;
  at::_fused_adamw_(values, grads, first, second, {}, steps, lr, options_.beta1, options_.beta2,
                    decay ? options_.weight_decay : 0.0, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
}

void Optimizer::muon_step(const Parameter& parameter, Moments& moments, double lr) const {
  at::Tensor value = parameter.value;
  const at::Tensor& grad = value.grad();
  moments.first.mul_(options_.muon_momentum).add_(grad);
  const at::Tensor direction = at::add(grad, moments.first, options_.muon_momentum);
  if (parameter.decay) value.mul_(1 - lr * options_.weight_decay);
  const int64_t rows = value.size(0) / parameter.matrices[0];
  const int64_t columns = value.size(1) / parameter.matrices[1];
  for (int64_t row = 0; row < value.size(0); row += rows) {
    for (int64_t column = 0; column < value.size(1); column += columns) {
      const auto one = [&](const at::Tensor& all) {
        return all.narrow(0, row, rows).narrow(1, column, columns);
      };
      one(value).add_(muon_update(one(direction)), -lr);
    }
  }
}

void Optimizer::zero_grad() {
  for (Parameter& parameter : parameters_) parameter.value.mutable_grad().reset();
}

std::vector<at::Tensor> Optimizer::state() const {
  std::vector<at::Tensor> state;
  for (const Moments& moments : moments_) {
    state.push_back(moments.first);
    if (!moments.second.defined()) continue;
    state.push_back(moments.second);
    state.push_back(moments.steps);
  }
  return state;
}

void Optimizer::restore(const std::vector<at::Tensor>& state) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> own = this->state();
  PRUNUS_CHECK(state.size() == own.size(), Corrupt, "optimizer state: ", state.size(),
               " tensors, expected ", own.size(), "; the state belongs to another run");
  for (size_t i = 0; i < own.size(); ++i) check_restorable(state[i], own[i]);
  for (size_t i = 0; i < own.size(); ++i) own[i].copy_(state[i]);
}

int64_t Optimizer::state_bytes(const std::vector<Parameter>& parameters,
                               const OptimizerOptions& options) {
  int64_t bytes = 0;
  for (const Parameter& parameter : parameters) {
    bytes += parameter.value.numel() * (uses_muon(parameter, options) ? 4 : 8);
  }
  return bytes;
}

}  // namespace prunus
