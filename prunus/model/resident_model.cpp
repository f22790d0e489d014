#include "prunus/model/resident_model.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/matmul.h"

namespace prunus {

std::vector<BlockWeights> open_layers(const Model& model, const std::string& what,
                                      const std::function<BlockWeights(int layer)>& open) {
  Progress progress(what, model.layer_count());
  std::vector<BlockWeights> blocks;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    model.prefetch_block(layer + 1);
    blocks.push_back(open(layer));
    progress.step();
  }
  return blocks;
}

ResidentModel::ResidentModel(const Model& model, at::Device device, at::ScalarType dtype)
    : model_(model), device_(device) {
  model_.set_precision(dtype);
  blocks_ = open_layers(model_, "load: layers",
                        [&](int layer) { return model_.load_block(layer, device); });
  norm_.emplace(model_, device);
  input_embedding_.emplace(model_, device);
  head_ = model_.load(model_.tensor(Role::LmHead), device);
  projection_ = norm_->head_rows(head_);
  if (config().tie_word_embeddings) {
    embedding_ = head_;
  } else if (!device.is_cpu()) {
    embedding_ = model_.load(model_.tensor(Role::EmbedTokens), device);
  }
}

at::Tensor ResidentModel::embedded(const at::Tensor& ids, int64_t position) const {
  const at::Tensor places = at::arange(position, position + ids.size(1), at::kLong).unsqueeze(0);
  if (!embedding_.defined()) {
    return input_embedding_->finish(embedding_rows(model_, ids, device_), places).to(at::kFloat);
  }
  if (ids.device().is_cpu()) {
    const auto low = ids.min().item<int64_t>();
    const auto high = ids.max().item<int64_t>();
    PRUNUS_CHECK(low >= 0 && high < config().vocab_size, InvalidArgument, "token id ",
                 low < 0 ? low : high, " is outside the model's vocabulary of ",
                 config().vocab_size, "; does the tokenizer belong to this model?");
  }
  const at::Tensor rows = embedding_.index_select(0, ids.flatten().to(device_));
  return input_embedding_->finish(rows.to(at::kFloat).view({ids.size(0), ids.size(1), -1}), places)
      .to(at::kFloat);
}

at::Tensor ResidentModel::next_logits(const at::Tensor& ids, int64_t position,
                                      std::vector<LayerCache>& cache, LinearHook* hook) const {
  const Decoder decoder(config());
  at::Tensor hidden = embedded(ids, position);
  for (int layer = 0; layer < layer_count(); ++layer) {
    const auto at = static_cast<size_t>(layer);
    hidden = decoder.block(layer, blocks_[at], hidden, hook, &cache[at], position);
  }
  const at::Tensor last = hidden.select(1, hidden.size(1) - 1);
  const at::Tensor normed = norm_->scaled(norm_->normalised(last), hook);
  at::Tensor logits = hook == nullptr ? apply_linear(normed, projection_)
                                      : hook->linear(Role::LmHead, normed, projection_, {});
  logits = logits.to(at::kFloat);
  norm_->cap(logits);
  return logits;
}

int64_t ResidentModel::step_bytes() const {
  int64_t bytes = norm_->bytes() + static_cast<int64_t>(head_.nbytes());
  for (const BlockWeights& block : blocks_) {
    for (int role = 0; role < kRoleCount; ++role) {
      const at::Tensor& weight = block[static_cast<Role>(role)];
      if (weight.defined()) bytes += static_cast<int64_t>(weight.nbytes());
    }
  }
  return bytes;
}

int64_t ResidentModel::bytes() const {
  const bool apart = embedding_.defined() && !config().tie_word_embeddings;
  return step_bytes() + input_embedding_->bytes() +
         (apart ? static_cast<int64_t>(embedding_.nbytes()) : 0);
}

}  // namespace prunus
