#include "prunus/train/train_model.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/adapter/merge.h"
#include "prunus/base/error.h"
#include "prunus/model/matmul.h"
#include "prunus/model/overlay.h"
#include "prunus/model/resident_model.h"
#include "prunus/model/zero_mask.h"

namespace prunus {
namespace {

// The experts of a mixture are joined along one axis; each is a matrix of its own.
std::array<int64_t, 2> matrices_of(const TensorInfo& tensor, const ModelConfig& config) {
  std::array<int64_t, 2> matrices = {1, 1};
  if (tensor.layer < 0 || tensor.spec->rank != 2) return matrices;
  for (size_t axis = 0; axis < 2; ++axis) {
    const auto& factors = tensor.spec->axes[axis].factors;
    if (factors[0] != Factor::Expert || factors[1] == Factor::None) continue;
    matrices[axis] = config.layers[static_cast<size_t>(tensor.layer)].experts;
  }
  return matrices;
}

}  // namespace

// Stands for the layer's matrix products: adapters on frozen weights, or trained weights.
class TrainModel::Hook : public LinearHook {
 public:
  Hook(const TrainModel& owner, int layer, bool training, uint64_t dropout_seed)
      : owner_(owner), layer_(layer), training_(training), dropout_seed_(dropout_seed) {}

  Experts experts() const override { return Experts::Joined; }
  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) override {
    const at::ScalarType compute = owner_.options_.compute;
    if (owner_.full()) {
      return apply_linear(input, weight.to(compute), bias.defined() ? bias.to(compute) : bias);
    }
    const std::pair<int, Role> place{layer_, role};
    const LoraAdapter& adapter = *owner_.adapter_;
    const auto pair = adapter.pairs.find(place);
    const bool adapted = pair != adapter.pairs.end();
    const auto masked = owner_.masked_adapters_.find(place);
    return adapted_linear(
        input, owner_.frozen_.at(place), bias, adapted ? &pair->second : nullptr,
        {.compute = compute,
         .dropout = training_ ? adapter.options.dropout : 0,
         .dropout_seed = dropout_seed_ * 1'000'003 + static_cast<uint64_t>(layer_) * kRoleCount +
                         static_cast<uint64_t>(role),
         .masked = masked != owner_.masked_adapters_.end()});
  }

 private:
  const TrainModel& owner_;
  int layer_;
  bool training_;
  uint64_t dropout_seed_;
};

TrainModel::TrainModel(const Model& base, at::Device device, TrainModelOptions options,
                       LoraAdapter adapter)
    : base_(base),
      device_(device),
      options_(options),
      decoder_(base.config(), Decoder::Kernels::Libtorch),
      adapter_(std::move(adapter)) {
  PRUNUS_CHECK(!adapter_->pairs.empty(), InvalidArgument, "the adapter has no pair to train");
  parameters_ = adapter_->parameters(base);
  first_trained_layer_ = adapter_->pairs.begin()->first.first;
  open_weights();
}

TrainModel::TrainModel(const Model& base, at::Device device, TrainModelOptions options)
    : base_(base),
      device_(device),
      options_(options),
      decoder_(base.config(), Decoder::Kernels::Libtorch) {
  PRUNUS_CHECK(!options.int8_base, InvalidArgument,
               "--base-dtype int8 is for adapters: weights that are trained are held in FP32");
  open_weights();
}

void TrainModel::open_weights() {
  const at::NoGradGuard no_grad;
  input_embedding_ = std::make_unique<InputEmbedding>(open_embedding());
  blocks_ = open_layers(base_, "open weights: layers", [&](int layer) {
    return full() ? trained_block(layer) : frozen_block(layer);
  });
  head_ = std::make_unique<LossHead>(base_, device_, options_.compute, open_head());
}

InputEmbedding TrainModel::open_embedding() {
  const TensorInfo& table = base_.tensor(Role::EmbedTokens);
  if (!full()) {
    check_finite(base_.source().read(table), table.name);
    return InputEmbedding(base_, device_);
  }
  trained(table);
  return InputEmbedding(base_.config(), trained(Role::EmbedPositions), trained(Role::EmbedNorm),
                        trained(Role::EmbedNormBias));
}

LossHead::Weights TrainModel::open_head() {
  if (full()) {
    return {.norm = trained(Role::FinalNorm),
            .norm_bias = trained(Role::FinalNormBias),
            .matrix = trained(base_.tensor(Role::LmHead))};
  }
  LossHead::Weights weights;
  if (!base_.config().final_norm) return weights;
  weights.norm = base_.load(base_.tensor(Role::FinalNorm), device_);
  if (base_.config().family->norm == NormKind::Layer) {
    weights.norm_bias = base_.load(base_.tensor(Role::FinalNormBias), device_);
  }
  return weights;
}

// Matrices as they are stored, vectors in FP32.
BlockWeights TrainModel::frozen_block(int layer) {
  BlockWeights weights;
  for (const TensorInfo& tensor : base_.tensors()) {
    if (tensor.layer != layer) continue;
    const Role role = tensor.spec->role;
    if (tensor.spec->rank == 1) {
      weights[role] = base_.load(tensor, device_);
      continue;
    }
    const at::Tensor stored = base_.source().read(tensor);
    check_finite(stored, tensor.name);
    const bool masked = adapter_->pairs.contains({layer, role}) && keep_mask(stored);
    if (masked) masked_adapters_[{layer, role}] = true;
    FrozenWeight& frozen = frozen_[{layer, role}];
    frozen = options_.int8_base ? FrozenWeight::int8(stored.to(device_), masked)
                                : FrozenWeight::stored(stored.to(device_));
    weights[role] = frozen.data();  // the decoder asks which parts there are
    if (options_.int8_base || !device_.is_cpu()) base_.source().release(tensor);
  }
  return weights;
}

BlockWeights TrainModel::trained_block(int layer) {
  BlockWeights weights;
  for (const TensorInfo& tensor : base_.tensors()) {
    if (tensor.layer == layer) weights[tensor.spec->role] = trained(tensor);
  }
  return weights;
}

at::Tensor TrainModel::trained(const TensorInfo& tensor) {
  const auto found = trained_.find(tensor.name);
  if (found != trained_.end()) return found->second;
  const at::Tensor stored = base_.source().read(tensor);
  check_finite(stored, tensor.name);
  const at::Tensor value = stored.to(device_).to(at::kFloat, false, /*copy=*/true);
  base_.source().release(tensor);
  if (const auto keep = keep_mask(value)) masks_[tensor.name] = *keep;
  trained_[tensor.name] = value.requires_grad_(true);
  const bool matrix = tensor.spec->rank == 2;
  parameters_.push_back({.name = tensor.name,
                         .value = value,
                         .decay = matrix,
                         .hidden_matrix = matrix && tensor.layer >= 0,
                         .matrices = matrices_of(tensor, base_.config())});
  return value;
}

// The tensor with this role outside the layers, or nothing where the model has none.
at::Tensor TrainModel::trained(Role role) {
  for (const TensorInfo& tensor : base_.tensors()) {
    if (tensor.layer < 0 && tensor.spec->role == role) return trained(tensor);
  }
  return {};
}

at::Tensor TrainModel::table_rows(const TrainBatch& batch) const {
  if (!full()) return embedding_rows(base_, batch.ids, device_);
  const TensorInfo& info = base_.tensor(Role::EmbedTokens);
  const int64_t high = batch.ids.max().item<int64_t>();
  PRUNUS_CHECK(high < info.shape[0], InvalidArgument, "token id ", high,
               " is outside the model's vocabulary of ", info.shape[0],
               "; does the tokenizer belong to this model?");
  return at::embedding(trained_.at(info.name), batch.ids.to(device_));
}

at::Tensor TrainModel::embed_batch(const TrainBatch& batch) const {
  return input_embedding_->finish(table_rows(batch));
}

// Through what stands behind the table's rows, which is computed anew, and to the rows.
void TrainModel::embedding_backward(const TrainBatch& batch, at::Tensor grad) {
  if (!plain_embedding(base_.config())) {
    const at::Tensor rows = table_rows(batch).requires_grad_(true);
    const at::AutoGradMode mode(true);
    input_embedding_->finish(rows).backward(grad);
    grad = rows.grad();
  }
  const at::Tensor weight = trained_.at(base_.tensor(Role::EmbedTokens).name);
  at::Tensor& total = weight.mutable_grad();
  if (!total.defined()) total = at::zeros_like(weight);
  total.index_add_(0, batch.ids.flatten().to(device_), grad.flatten(0, 1));
}

LossSums TrainModel::run(const TrainBatch& batch, const Pass& pass) {
  const at::NoGradGuard no_grad;
  const bool training = pass.scale != 0;
  const bool keep_graph = training && !options_.checkpoint_blocks;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> outputs;
  at::Tensor hidden = embed_batch(batch);
  LossSums seams;
  for (int layer = 0; layer < base_.layer_count(); ++layer) {
    Hook hook(*this, layer, training, pass.dropout_seed);
    const bool graph = keep_graph && layer >= first_trained_layer_;
    at::Tensor input = hidden.detach();
    input.requires_grad_(graph && (layer > first_trained_layer_ || full()));
    at::Tensor output;
    {
      const at::AutoGradMode mode(graph);
      output = decoder_.block(layer, blocks_[static_cast<size_t>(layer)], input, &hook);
    }
    hidden = output.detach();
    seams.seam += seam_loss(batch, pass, layer, hidden, nullptr);
    if (training) inputs.push_back(input);
    if (training) outputs.push_back(graph || !pass.seams.empty() ? output : at::Tensor());
  }
  const ScoredPlaces scored = scored_places(batch, device_);
  LossHead::TeacherLogits teacher;
  at::Tensor teacher_hidden;
  if (pass.weights.kl > 0) {
    teacher_hidden = pass.states->hidden.flatten(0, 1).index_select(0, scored.places);
    teacher = [&](int64_t begin, int64_t count) {
      return pass.teacher->logits(teacher_hidden.narrow(0, begin, count));
    };
  }
  at::Tensor grad;
  LossSums sums = head_->run(hidden, scored, pass.weights, teacher, pass.scale, &grad);
  sums.seam = seams.seam;
  sums.objective += pass.weights.seam * seams.seam;
  if (training) backward(batch, pass, grad, inputs, outputs);
  return sums;
}

void TrainModel::backward(const TrainBatch& batch, const Pass& pass, at::Tensor grad,
                          std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs) {
  for (auto layer = static_cast<int>(base_.layer_count()) - 1; layer >= first_trained_layer_;
       --layer) {
    const auto place = static_cast<size_t>(layer);
    if (outputs[place].defined()) seam_loss(batch, pass, layer, outputs[place].detach(), &grad);
    at::Tensor& input = inputs[place];
    const bool into = layer > first_trained_layer_ || full();
    if (options_.checkpoint_blocks) {
      Hook hook(*this, layer, true, pass.dropout_seed);
      input = input.detach().requires_grad_(into);
      const at::AutoGradMode mode(true);
      outputs[place] = decoder_.block(layer, blocks_[place], input, &hook);
    }
    outputs[place].backward(grad);
    if (into) grad = input.grad();
    outputs[place] = at::Tensor();
    input = at::Tensor();
  }
  if (full()) embedding_backward(batch, grad);
}

// Σ over tokens of ‖h − h'‖² / mean‖h'‖² at this layer's output; its gradient is added to `grad`.
double TrainModel::seam_loss(const TrainBatch& batch, const Pass& pass, int64_t layer,
                             const at::Tensor& output, at::Tensor* grad) const {
  if (pass.weights.seam <= 0) return 0;
  for (size_t i = 0; i < pass.seams.size(); ++i) {
    if (pass.seams[i].layer != layer) continue;
    const at::Tensor& meant = pass.states->seams.at(i);
    // Tokens that some scored token can see: everything up to a row's last scored place.
    const at::Tensor later = batch.scored.to(output.device(), at::kFloat).flip({1}).cumsum(1);
    const at::Tensor counts = (later.flip({1}) > 0).to(at::kFloat).unsqueeze(2);
    const at::Tensor energy =
        (meant.square().sum(2, true) * counts).sum() / counts.sum().clamp_min(1);
    const at::Tensor difference = (output - meant) * counts;
    if (grad != nullptr) grad->add_(difference * (2 * pass.weights.seam * pass.scale / energy));
    return (difference.square().sum() / energy).item<double>();
  }
  return 0;
}

void TrainModel::mask_gradients() {
  const at::NoGradGuard no_grad;
  for (const auto& [name, mask] : masks_) {
    at::Tensor& grad = trained_.at(name).mutable_grad();
    if (grad.defined()) grad.mul_(mask);
  }
}

void TrainModel::mask_values() {
  const at::NoGradGuard no_grad;
  for (const auto& [name, mask] : masks_) trained_.at(name).mul_(mask);
}

int64_t TrainModel::sparse_weights() const {
  return static_cast<int64_t>(masks_.size() + masked_adapters_.size());
}

std::string TrainModel::first_bad_place(const TrainBatch& batch) {
  const at::NoGradGuard no_grad;
  const auto bad = [](const at::Tensor& tensor) {
    return !at::isfinite(tensor).all().item<bool>();
  };
  at::Tensor hidden = embed_batch(batch);
  if (bad(hidden)) return "the embedding";
  for (int layer = 0; layer < base_.layer_count(); ++layer) {
    Hook hook(*this, layer, false, 0);
    hidden = decoder_.block(layer, blocks_[static_cast<size_t>(layer)], hidden, &hook);
    if (bad(hidden)) return c10::str("layer ", layer);
  }
  return "the head";
}

std::shared_ptr<const WeightSource> TrainModel::result_source() const {
  if (full()) return std::make_shared<OverlaySource>(base_.shared_source(), trained_);
  return std::make_shared<MergedSource>(base_.shared_source(), *adapter_);
}

Model TrainModel::result() const { return Model(base_.config(), result_source()); }

}  // namespace prunus
