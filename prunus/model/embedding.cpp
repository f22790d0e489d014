#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/model/decoder.h"

namespace prunus {

bool plain_embedding(const ModelConfig& config) {
  const Family& family = *config.family;
  return family.positions != Positions::Learned && !family.embedding_norm &&
         config.embedding_scale == 1.0;
}

at::Tensor finish_embedding(const Model& model, const at::Tensor& rows,
                            const at::Tensor& positions) {
  const ModelConfig& config = model.config();
  const Family& family = *config.family;
  at::Tensor hidden = config.embedding_scale == 1.0 ? rows : rows * config.embedding_scale;
  if (family.positions == Positions::Learned) {
    const int64_t seq = rows.size(1);
    const at::Tensor places =
        positions.defined() ? positions : at::arange(seq, at::kLong).unsqueeze(0);
    const int64_t last = places.max().item<int64_t>();
    PRUNUS_CHECK(last < config.max_position_embeddings, InvalidArgument, "position ", last,
                 " is outside the model's context of ", config.max_position_embeddings, " tokens");
    const at::Tensor table = model.load(model.tensor(Role::EmbedPositions), rows.device());
    const at::Tensor added =
        at::embedding(table, places.to(rows.device()) + family.position_offset);
    hidden = hidden + added.to(rows.scalar_type());
  }
  if (!family.embedding_norm) return hidden;
  const Decoder decoder(config);
  const at::Tensor weight = model.load(model.tensor(Role::EmbedNorm), rows.device());
  const at::Tensor bias = family.norm == NormKind::Layer
                              ? model.load(model.tensor(Role::EmbedNormBias), rows.device())
                              : at::Tensor();
  return decoder.norm(hidden, weight, bias);
}

at::Tensor embed(const Model& model, const at::Tensor& ids, at::Device device,
                 const at::Tensor& positions) {
  const TensorInfo& info = model.tensor(Role::EmbedTokens);
  const int64_t low = ids.min().item<int64_t>();
  const int64_t high = ids.max().item<int64_t>();
  PRUNUS_CHECK(low >= 0 && high < model.config().vocab_size, InvalidArgument, "token id ",
               low < 0 ? low : high, " is outside the model's vocabulary of ",
               model.config().vocab_size, "; does the tokenizer belong to this model?");
  const at::Tensor rows = model.source().select_rows(info, ids.flatten());
  at::Tensor hidden = rows.to(device).to(model.precision());
  model.source().release(info);
  check_finite(hidden, info.name);
  return finish_embedding(model, hidden.view({ids.size(0), ids.size(1), -1}), positions);
}

}  // namespace prunus
