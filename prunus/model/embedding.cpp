#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/model/decoder.h"

namespace prunus {

bool plain_embedding(const ModelConfig& config) {
  const Family& family = *config.family;
  return family.positions != Positions::Learned && !family.embedding_norm &&
         config.embedding_scale == 1.0;
}

InputEmbedding::InputEmbedding(const Model& model, at::Device device) : config_(model.config()) {
  const Family& family = *config_.family;
  if (family.positions == Positions::Learned) {
    table_ = model.load(model.tensor(Role::EmbedPositions), device);
  }
  if (!family.embedding_norm) return;
  weight_ = model.load(model.tensor(Role::EmbedNorm), device);
  if (family.norm == NormKind::Layer) {
    bias_ = model.load(model.tensor(Role::EmbedNormBias), device);
  }
}

at::Tensor InputEmbedding::finish(const at::Tensor& rows, const at::Tensor& positions) const {
  at::Tensor hidden = config_.embedding_scale == 1.0 ? rows : rows * config_.embedding_scale;
  if (table_.defined()) {
    const at::Tensor places =
        positions.defined() ? positions : at::arange(rows.size(1), at::kLong).unsqueeze(0);
    const int64_t last = places.max().item<int64_t>();
    PRUNUS_CHECK(last < config_.max_position_embeddings, InvalidArgument, "position ", last,
                 " is outside the model's context of ", config_.max_position_embeddings, " tokens");
    const at::Tensor added =
        at::embedding(table_, places.to(rows.device()) + config_.family->position_offset);
    hidden = hidden + added.to(rows.scalar_type());
  }
  return weight_.defined() ? Decoder(config_).norm(hidden, weight_, bias_) : hidden;
}

int64_t InputEmbedding::bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor& held : {table_, weight_, bias_}) {
    if (held.defined()) bytes += static_cast<int64_t>(held.nbytes());
  }
  return bytes;
}

at::Tensor embedding_rows(const Model& model, const at::Tensor& ids, at::Device device) {
  const TensorInfo& info = model.tensor(Role::EmbedTokens);
  const int64_t low = ids.min().item<int64_t>();
  const int64_t high = ids.max().item<int64_t>();
  PRUNUS_CHECK(low >= 0 && high < model.config().vocab_size, InvalidArgument, "token id ",
               low < 0 ? low : high, " is outside the model's vocabulary of ",
               model.config().vocab_size, "; does the tokenizer belong to this model?");
  const at::Tensor rows = model.source().select_rows(info, ids.flatten());
  const at::Tensor hidden = rows.to(device).to(at::promote_types(model.precision(), at::kFloat));
  model.source().release(info);
  check_finite(hidden, info.name);
  return hidden.view({ids.size(0), ids.size(1), -1});
}

at::Tensor embed(const Model& model, const at::Tensor& ids, at::Device device,
                 const at::Tensor& positions) {
  const at::Tensor rows = embedding_rows(model, ids, device);
  return InputEmbedding(model, device).finish(rows, positions);
}

}  // namespace prunus
