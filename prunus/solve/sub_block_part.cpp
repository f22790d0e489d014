#include "prunus/solve/sub_block_part.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/rng.h"
#include "prunus/model/zero_mask.h"
#include "prunus/train/schedule.h"
#include "prunus/train/train_data.h"

namespace prunus {
namespace {

constexpr Role kAttention[] = {Role::QProj, Role::KProj, Role::VProj, Role::OProj,
                               Role::QBias, Role::KBias, Role::VBias, Role::OBias};
constexpr Role kAttentionNorms[] = {Role::AttnNorm, Role::AttnNormBias, Role::PostAttnNorm};
constexpr Role kFeedForward[] = {Role::GateProj,       Role::UpProj,         Role::DownProj,
                                 Role::GateBias,       Role::UpBias,         Role::DownBias,
                                 Role::Router,         Role::SharedGateProj, Role::SharedUpProj,
                                 Role::SharedDownProj, Role::SharedRouter};
constexpr Role kFeedForwardNorms[] = {Role::MlpNorm, Role::MlpNormBias, Role::PostMlpNorm};

bool trains(Part part, Role role, bool norms) {
  const auto in = [role](std::span<const Role> roles) {
    return std::find(roles.begin(), roles.end(), role) != roles.end();
  };
  if (part == Part::Attention) return in(kAttention) || (norms && in(kAttentionNorms));
  return in(kFeedForward) || (norms && in(kFeedForwardNorms));
}

// The trained weights as they will be written.
BlockWeights rounded(const BlockWeights& trained, const Model& model,
                     const std::vector<const TensorInfo*>& tensors) {
  BlockWeights weights = trained;
  for (const TensorInfo* tensor : tensors) {
    at::Tensor& value = weights[tensor->spec->role];
    const at::Tensor stored = value.detach().to(model.source().dtype(*tensor));
    value = stored.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  return weights;
}

// Of a layer without any matrix it does not matter.
at::Device device_of(const BlockWeights& weights) {
  for (const Role role : {Role::OProj, Role::DownProj}) {
    if (weights[role].defined()) return weights[role].device();
  }
  return at::kCPU;
}

// Mean Σ target² of a row.
double mean_row_size(const Hidden& targets) {
  double size = 0;
  int64_t rows = 0;
  for (const at::Tensor& batch : targets) {
    size += batch.square().sum(at::kDouble).item<double>();
    rows += batch.size(0);
  }
  return std::max<double>(size / static_cast<double>(rows), std::numeric_limits<float>::min());
}

}  // namespace

bool has_part(const Model& model, int layer, Part part) {
  return model.config()
      .layers.at(static_cast<size_t>(layer))
      .has(part == Part::Attention ? SubLayer::Attention : SubLayer::FeedForward);
}

const char* part_name(Part part) { return part == Part::Attention ? "attention" : "ffn"; }

std::vector<const TensorInfo*> trained_tensors(const Model& model, int layer, Part part,
                                               bool norms) {
  std::vector<const TensorInfo*> tensors;
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.layer == layer && trains(part, tensor.spec->role, norms)) {
      tensors.push_back(&tensor);
    }
  }
  return tensors;
}

at::Tensor PartForward::operator()(const BlockWeights& weights, const at::Tensor& hidden,
                                   LinearHook* hook) const {
  return part == Part::Attention ? decoder.attention_part(layer, weights, hidden, hook)
                                 : decoder.feed_forward_part(layer, weights, hidden, hook);
}

RowSplit split_rows(const std::vector<TokenBatch>& rows, const SubBlockOptions& options) {
  constexpr int64_t kFewestToSplit = 4;
  RowSplit split;
  for (size_t batch = 0; batch < rows.size(); ++batch) {
    for (int64_t row = 0; row < rows[batch].ids.size(0); ++row)
      split.places.push_back({batch, row});
  }
  const auto count = static_cast<int64_t>(split.places.size());
  split.train.resize(split.places.size());
  std::iota(split.train.begin(), split.train.end(), int64_t{0});
  if (count < kFewestToSplit || options.valid_fraction == 0) {
    split.valid = split.train;
    return split;
  }
  PythonRandom(options.seed).shuffle(split.train);
  const auto share = std::llround(static_cast<double>(count) * options.valid_fraction);
  const int64_t judges = std::clamp<int64_t>(share, 1, count - 1);
  split.valid.assign(split.train.end() - judges, split.train.end());
  split.train.resize(static_cast<size_t>(count - judges));
  return split;
}

int64_t PartTrainer::rows_per_step() const {
  return std::min(options_.batch_rows, static_cast<int64_t>(split_.train.size()));
}

int64_t PartTrainer::steps_per_epoch() const {
  const auto rows = static_cast<int64_t>(split_.train.size());
  return (rows + rows_per_step() - 1) / rows_per_step();
}

double PartTrainer::error(const BlockWeights& weights) const {
  const auto at_once = static_cast<size_t>(options_.batch_rows);
  double distance = 0;
  double size = 0;
  for (size_t begin = 0; begin < split_.valid.size(); begin += at_once) {
    const size_t count = std::min(split_.valid.size() - begin, at_once);
    const auto first = split_.valid.begin() + static_cast<std::ptrdiff_t>(begin);
    const std::vector<int64_t> rows(first, first + static_cast<std::ptrdiff_t>(count));
    for (const Examples& one : pick(rows, device_of(weights))) {
      const at::Tensor output = forward_(weights, one.input);
      distance += (one.target - output).square_().sum(at::kDouble).item<double>();
      size += one.target.square().sum(at::kDouble).item<double>();
    }
  }
  const double error = distance / std::max<double>(size, std::numeric_limits<float>::min());
  PRUNUS_CHECK(std::isfinite(error), Numeric, "repair of layer ", forward_.layer, ", ",
               part_name(forward_.part), ": the error is ", error, "; lower the learning rate (",
               options_.lr, "), or look at the models' weights");
  return error;
}

std::optional<BlockWeights> PartTrainer::train(const BlockWeights& weights, const Model& model,
                                               double& error, Progress& progress) {
  const auto tensors = trained_tensors(model, forward_.layer, forward_.part, options_.train_norms);
  BlockWeights trained = weights;
  Optimizer optimizer(leaves(trained, tensors), {});
  const ScheduleOptions schedule{
      .lr = options_.lr, .warmup_steps = steps() / 10, .total_steps = steps()};
  const RowOrder order(static_cast<int64_t>(split_.train.size()), rows_per_step(), options_.seed);
  row_size_ = mean_row_size(targets_);
  std::optional<BlockWeights> best;
  for (int64_t step = 0; step < steps(); ++step) {
    std::vector<int64_t> rows = order.rows_of(step);
    for (int64_t& row : rows) row = split_.train[static_cast<size_t>(row)];
    update(trained, rows, optimizer, learning_rate(schedule, step));
    progress.step();
    if ((step + 1) % steps_per_epoch() != 0) continue;
    BlockWeights candidate = rounded(trained, model, tensors);
    const double now = this->error(candidate);
    if (now >= error) continue;
    error = now;
    best = std::move(candidate);
  }
  return best;
}

// Makes these tensors trainable copies.
std::vector<Parameter> PartTrainer::leaves(BlockWeights& trained,
                                           const std::vector<const TensorInfo*>& tensors) {
  std::vector<Parameter> parameters;
  for (const TensorInfo* tensor : tensors) {
    const Role role = tensor->spec->role;
    at::Tensor& value = trained[role];
    value = value.clone(at::MemoryFormat::Contiguous).requires_grad_(true);
    if (auto keep = keep_mask(value)) masks_[role] = std::move(*keep);
    const bool matrix = tensor->spec->rank == 2;
    parameters.push_back(
        {.name = tensor->name, .value = value, .decay = matrix, .hidden_matrix = matrix});
  }
  return parameters;
}

// Rows with these numbers, those of one length together.
std::vector<PartTrainer::Examples> PartTrainer::pick(const std::vector<int64_t>& rows,
                                                     at::Device device) const {
  std::map<int64_t, std::pair<Hidden, Hidden>> by_length;
  for (const int64_t number : rows) {
    const auto& [batch, row] = split_.places[static_cast<size_t>(number)];
    auto& [inputs, targets] = by_length[inputs_[batch].size(1)];
    inputs.push_back(inputs_[batch][row]);
    targets.push_back(targets_[batch][row]);
  }
  std::vector<Examples> examples;
  for (const auto& [length, lists] : by_length) {
    examples.push_back({at::stack(lists.first).to(device), at::stack(lists.second).to(device)});
  }
  return examples;
}

void PartTrainer::update(BlockWeights& trained, const std::vector<int64_t>& rows,
                         Optimizer& optimizer, double lr) {
  const double scale = 1 / (row_size_ * static_cast<double>(rows.size()));
  optimizer.zero_grad();
  for (const Examples& one : pick(rows, device_of(trained))) {
    const at::AutoGradMode on(true);
    const at::Tensor loss = (one.target - forward_(trained, one.input)).square().sum() * scale;
    loss.backward();
  }
  // Masked gradients leave no momentum behind that could bring a zero back.
  for (const auto& [role, keep] : masks_) trained[role].mutable_grad().mul_(keep);
  optimizer.step(lr);
  for (const auto& [role, keep] : masks_) trained[role].mul_(keep);
}

}  // namespace prunus
