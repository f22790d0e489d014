#include "prunus/model/decoder.h"

#include <cmath>
#include <numbers>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

at::Tensor project(LinearTap* tap, Role role, const at::Tensor& x, const BlockWeights& weights,
                   Role bias_role) {
  const at::Tensor& weight = weights[role];
  const at::Tensor& bias = weights[bias_role];
  if (tap != nullptr) return tap->linear(role, x, weight, bias);
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

// [batch, seq, heads·d] → [batch, heads, seq, d]
at::Tensor split_heads(const at::Tensor& x, int64_t heads, int64_t head_dim) {
  return x.view({x.size(0), x.size(1), heads, head_dim}).transpose(1, 2);
}

// Each key/value head serves `times` query heads in a row.
at::Tensor repeat_heads(const at::Tensor& x, int64_t times) {
  if (times == 1) return x;
  return x.unsqueeze(2)
      .expand({x.size(0), x.size(1), times, x.size(2), x.size(3)})
      .reshape({x.size(0), x.size(1) * times, x.size(2), x.size(3)});
}

// Rotates the pairs (i, i + d/2) of x [batch, heads, seq, d] by the angles [seq, d/2], or
// [batch, 1, seq, d/2] where rows differ.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor first = x.narrow(-1, 0, half);
  const at::Tensor second = x.narrow(-1, half, half);
  return at::cat({first * cos - second * sin, second * cos + first * sin}, -1);
}

// Puts `more` behind `kept`, both [batch, heads, seq, d], in memory that doubles when it is full:
// joining them anew at every step of a generation copied each position as often as others follow.
at::Tensor append(at::Tensor& kept, at::Tensor& room, const at::Tensor& more) {
  const int64_t past = kept.defined() ? kept.size(2) : 0;
  const int64_t length = past + more.size(2);
  if (!room.defined() || room.size(2) < length) {
    const int64_t places = std::max(length, 2 * past);
    room = at::empty({more.size(0), more.size(1), places, more.size(3)}, more.options());
    if (past > 0) room.narrow(2, 0, past).copy_(kept);
  }
  room.narrow(2, past, more.size(2)).copy_(more);
  kept = room.narrow(2, 0, length);
  return kept;
}

// true = may attend. Query i stands at position past + i; keys at 0 … past + seq − 1.
at::Tensor attention_mask(int64_t seq, int64_t past, std::optional<int64_t> window,
                          at::Device device) {
  const at::Tensor query = at::arange(past, past + seq, at::device(device)).unsqueeze(1);
  const at::Tensor key = at::arange(past + seq, at::device(device)).unsqueeze(0);
  at::Tensor mask = key <= query;
  if (window) mask = mask & (key > query - *window);
  return mask;
}

// The part of a tree that a layer's window leaves visible.
at::Tensor tree_mask(const TokenTree& tree, std::optional<int64_t> window) {
  if (!window || *window >= tree.positions.size(1)) return tree.visible;
  const at::Tensor query = tree.positions.unsqueeze(1).unsqueeze(3);
  const at::Tensor key = tree.positions.unsqueeze(1).unsqueeze(2);
  return tree.visible & (key > query - *window);
}

// The head_dim of the model before any of it was cut.
int64_t scale_dim(const ModelConfig& config) {
  return config.rope_head_dim != 0 ? config.rope_head_dim : config.head_dim;
}

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::Silu:
      return at::silu(x);
    case Activation::Gelu:
      return at::gelu(x);
    case Activation::GeluTanh:
      return at::gelu(x, "tanh");
    case Activation::Relu:
      return at::relu(x);
  }
  return x;
}

}  // namespace

at::Tensor LinearTap::scale(Role, const at::Tensor& normalised, const at::Tensor& gain) {
  return normalised * gain;
}

at::Tensor rope_frequencies(const ModelConfig& config, int layer) {
  const Rope& rope = config.rope;
  const int64_t head_dim = scale_dim(config);
  const auto place = static_cast<size_t>(layer);
  const std::vector<int64_t> all;
  const auto& kept = place < config.layers.size() ? config.layers[place].rope_pairs : all;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const int64_t pair = kept.empty() ? i : kept[static_cast<size_t>(i)];
    const double exponent = static_cast<double>(2 * pair) / static_cast<double>(head_dim);
    double frequency = 1.0 / std::pow(rope.theta, exponent);
    if (rope.kind == Rope::Kind::Linear) frequency /= rope.factor;
    if (rope.kind == Rope::Kind::Llama3) {
      // Waves longer than the old context are slowed by `factor`, short ones kept, a ramp between.
      const double turns = static_cast<double>(rope.original_max_position_embeddings) * frequency /
                           (2 * std::numbers::pi);
      const double ramp = std::clamp(
          (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0,
          1.0);
      frequency *= ramp + (1 - ramp) / rope.factor;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return at::tensor(frequencies);
}

at::Tensor Decoder::normalise(const at::Tensor& x) const {
  return x * (x.square().mean(-1, true) + config_.rms_norm_eps).rsqrt();
}

at::Tensor Decoder::rms_norm(const at::Tensor& x, const at::Tensor& weight) const {
  return normalise(x) * weight;
}

at::Tensor Decoder::block_norm(Role role, const BlockWeights& weights, const at::Tensor& hidden,
                               LinearTap* tap) const {
  if (tap == nullptr) return rms_norm(hidden, weights[role]);
  return tap->scale(role, normalise(hidden), weights[role]);
}

at::Tensor Decoder::attention(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                              LinearTap* tap, LayerCache* cache, int64_t position,
                              const TokenTree* tree) const {
  const LayerShape& shape = config_.layers[static_cast<size_t>(layer)];
  const int64_t seq = hidden.size(1);
  at::Tensor q = split_heads(project(tap, Role::QProj, hidden, weights, Role::QBias),
                             shape.num_attention_heads, config_.head_dim);
  at::Tensor k = split_heads(project(tap, Role::KProj, hidden, weights, Role::KBias),
                             shape.num_key_value_heads, config_.head_dim);
  at::Tensor v = split_heads(project(tap, Role::VProj, hidden, weights, Role::VBias),
                             shape.num_key_value_heads, config_.head_dim);
  if (weights[Role::QNorm].defined()) q = rms_norm(q, weights[Role::QNorm]);
  if (weights[Role::KNorm].defined()) k = rms_norm(k, weights[Role::KNorm]);
  const at::Tensor places = tree != nullptr
                                ? tree->positions.unsqueeze(1).to(hidden.scalar_type())
                                : at::arange(position, position + seq, hidden.options());
  const at::Tensor angles =
      places.unsqueeze(-1) * rope_frequencies(config_, layer).to(hidden.options());
  const at::Tensor cos = angles.cos();
  const at::Tensor sin = angles.sin();
  // Angles are FP32; where the products are in half precision, so is what attention multiplies.
  q = rotate(q, cos, sin).to(v.scalar_type());
  k = rotate(k, cos, sin).to(v.scalar_type());
  if (cache != nullptr) {
    k = append(cache->keys, cache->key_room, k);
    v = append(cache->values, cache->value_room, v);
  }
  const int64_t times = shape.num_attention_heads / shape.num_key_value_heads;
  const int64_t past = k.size(2) - seq;
  const bool windowed = shape.sliding_window && *shape.sliding_window < k.size(2);
  const bool plain = past == 0 && !windowed && tree == nullptr;
  std::optional<at::Tensor> mask;
  if (tree != nullptr) {
    mask = tree_mask(*tree, shape.sliding_window);
  } else if (!plain && (seq > 1 || windowed)) {
    mask = attention_mask(seq, past, shape.sliding_window, hidden.device());
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(scale_dim(config_)));
  // All query heads of a single place see the same keys, so they can stand as the places of their
  // group, which saves copying keys and values for each of them.
  const bool grouped = seq == 1 && tree == nullptr;
  if (grouped) q = q.reshape({q.size(0), k.size(1), times, q.size(3)});
  const int64_t copies = grouped ? 1 : times;
  const at::Tensor mixed = at::scaled_dot_product_attention(
      q, repeat_heads(k, copies), repeat_heads(v, copies), mask, 0.0, plain && seq > 1, scale);
  const at::Tensor joined =
      (grouped ? mixed : mixed.transpose(1, 2))
          .reshape({hidden.size(0), seq, shape.num_attention_heads * config_.head_dim});
  return project(tap, Role::OProj, joined, weights, Role::OBias);
}

at::Tensor Decoder::feed_forward(const BlockWeights& weights, const at::Tensor& hidden,
                                 LinearTap* tap) const {
  const at::Tensor gate = project(tap, Role::GateProj, hidden, weights, Role::GateBias);
  const at::Tensor up = project(tap, Role::UpProj, hidden, weights, Role::UpBias);
  return project(tap, Role::DownProj, activate(config_.activation, gate) * up, weights,
                 Role::DownBias);
}

at::Tensor Decoder::attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                                   LinearTap* tap, LayerCache* cache, int64_t position) const {
  const at::Tensor normed = block_norm(Role::AttnNorm, weights, hidden, tap);
  return attention(layer, weights, normed, tap, cache, position);
}

at::Tensor Decoder::attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                                   const TokenTree& tree) const {
  const at::Tensor normed = rms_norm(hidden, weights[Role::AttnNorm]);
  return attention(layer, weights, normed, nullptr, nullptr, 0, &tree);
}

at::Tensor Decoder::feed_forward_part(const BlockWeights& weights, const at::Tensor& hidden,
                                      LinearTap* tap) const {
  return feed_forward(weights, block_norm(Role::MlpNorm, weights, hidden, tap), tap);
}

at::Tensor Decoder::block(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                          LinearTap* tap, LayerCache* cache, int64_t position) const {
  const at::Tensor middle = hidden + attention_part(layer, weights, hidden, tap, cache, position);
  return middle + feed_forward_part(weights, middle, tap);
}

at::Tensor embed(const Model& model, const at::Tensor& ids, at::Device device) {
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
  return hidden.view({ids.size(0), ids.size(1), -1});
}

}  // namespace prunus
