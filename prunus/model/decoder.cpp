#include "prunus/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/kernel/gate.h"
#include "prunus/kernel/norm.h"
#include "prunus/kernel/one_place.h"
#include "prunus/model/activation.h"
#include "prunus/model/decode_layer.h"
#include "prunus/model/matmul.h"
#include "prunus/model/mixture.h"
#include "prunus/model/positions.h"
#include "prunus/model/small_heads.h"

namespace prunus {
namespace {

at::Tensor project(LinearHook* hook, Role role, const at::Tensor& x, const BlockWeights& weights,
                   Role bias_role) {
  const at::Tensor& bias = weights[bias_role];
  if (const PackedWeight* packed = weights.packed(role)) {
    TORCH_INTERNAL_ASSERT(hook == nullptr || hook->only_watches(),
                          "a weight in blocks, which this hook cannot take");
    if (hook != nullptr) hook->before(role);
    const at::Tensor y = packed_linear(x, *packed, bias);
    if (hook != nullptr) hook->after(role);
    return y;
  }
  const at::Tensor& weight = weights[role];
  if (hook != nullptr) return hook->linear(role, x, weight, bias);
  return apply_linear(x, weight, bias);
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

at::Tensor positions_from(const at::Tensor& starts, int64_t seq) {
  return starts.unsqueeze(1) + at::arange(seq, starts.options());
}

// true = may attend. Query i stands at position starts + i; keys at 0 … length − 1.
// [n, 1, seq, length]
at::Tensor attention_mask(const at::Tensor& starts, int64_t seq, int64_t length,
                          std::optional<int64_t> window) {
  const at::Tensor query = positions_from(starts, seq).unsqueeze(1).unsqueeze(3);
  const at::Tensor key = at::arange(length, starts.options());
  at::Tensor mask = key <= query;
  if (window) mask = mask & (key > query - *window);
  return mask;
}

// On the CPU.
std::vector<AttentionPath> paths_of(const TokenTree::Branches& branches) {
  const auto* keys = branches.keys.const_data_ptr<int64_t>();
  const auto* starts = branches.starts.const_data_ptr<int64_t>();
  const auto* lengths = branches.lengths.const_data_ptr<int64_t>();
  std::vector<AttentionPath> paths;
  for (int64_t i = 0; i < branches.keys.size(0); ++i) {
    paths.push_back(
        {std::span(keys + i * branches.keys.size(1), static_cast<size_t>(lengths[i])), starts[i]});
  }
  return paths;
}

// What angles are in: FP32, or FP64 where hidden states are.
at::TensorOptions options_of_angles(const at::Tensor& hidden) {
  return hidden.options().dtype(at::promote_types(hidden.scalar_type(), at::kFloat));
}

// The head_dim of the model before any of it was cut.
int64_t scale_dim(const ModelConfig& config) {
  return config.rope_head_dim != 0 ? config.rope_head_dim : config.head_dim;
}

}  // namespace

at::Tensor causal_mask(const at::Tensor& starts, int64_t seq, int64_t length) {
  const at::Tensor mask = attention_mask(starts, seq, length, std::nullopt);
  return at::zeros(mask.sizes(), mask.options().dtype(at::kFloat))
      .masked_fill_(mask.logical_not(), -std::numeric_limits<float>::infinity());
}

kernel::NormRule Decoder::norm_rule() const {
  return {config_.norm_eps, config_.family->norm == NormKind::Layer,
          config_.family->norm == NormKind::RmsPlusOne};
}

at::Tensor Decoder::normalise(const at::Tensor& input) const {
  if (fused() && kernel::takes_norm(input)) {
    return kernel::norm(input, {}, {}, norm_rule(), at::kFloat);
  }
  const double eps = config_.norm_eps;
  const at::Tensor x = input.to(at::promote_types(input.scalar_type(), at::kFloat));
  if (config_.family->norm != NormKind::Layer) {
    return x * (x.square().mean(-1, true) + eps).rsqrt();
  }
  const at::Tensor centred = x - x.mean(-1, true);
  return centred * (centred.square().mean(-1, true) + eps).rsqrt();
}

at::Tensor Decoder::gain(const at::Tensor& weight) const {
  return config_.family->norm == NormKind::RmsPlusOne ? weight + 1 : weight;
}

at::Tensor Decoder::norm(const at::Tensor& x, const at::Tensor& weight,
                         const at::Tensor& bias) const {
  return norm(x, weight, bias, at::kFloat);
}

// `out`: the type of what is FP32 otherwise.
at::Tensor Decoder::norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         at::ScalarType out) const {
  const bool trained = at::GradMode::is_enabled() &&
                       (weight.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (fused() && !trained && weight.is_cpu() && weight.scalar_type() != at::kDouble &&
      kernel::takes_norm(x)) {
    return kernel::norm(x, weight, bias, norm_rule(), out);
  }
  const at::Tensor scaled = normalise(x) * gain(weight);
  return bias.defined() ? scaled + bias : scaled;
}

// Nothing where the model has no such norm.
at::Tensor Decoder::block_norm(Role role, Role bias_role, const BlockWeights& weights,
                               const at::Tensor& hidden, LinearHook* hook,
                               at::ScalarType out) const {
  if (!weights[role].defined()) return hidden;
  const at::Tensor& bias = weights[bias_role];
  if (hook == nullptr) return norm(hidden, weights[role], bias, out);
  return hook->scale(role, normalise(hidden), gain(weights[role]), bias);
}

// In front of products, whose dtype the norm's weight has: they need no other.
at::Tensor Decoder::input_norm(Role role, Role bias_role, const BlockWeights& weights,
                               const at::Tensor& hidden, LinearHook* hook) const {
  const at::Tensor& weight = weights[role];
  const bool half = weight.defined() && weight.element_size() == 2;
  return block_norm(role, bias_role, weights, hidden, hook,
                    half ? weight.scalar_type() : at::kFloat);
}

double Decoder::score_scale() const {
  const double divisor =
      config_.score_divisor != 0 ? config_.score_divisor : static_cast<double>(scale_dim(config_));
  return 1.0 / std::sqrt(divisor);
}

// Whether a causal mask is all there is: no sliding window that is shorter than the sequence, and
// no bias on the scores.
bool Decoder::plain(const LayerShape& shape, int64_t length) const {
  const bool windowed = shape.sliding_window && *shape.sliding_window < length;
  return !windowed && config_.family->positions != Positions::Alibi;
}

bool Decoder::small_heads(const at::Tensor& q) const {
  return kernels_ == Kernels::SmallHeads && config_.attention_softcap == 0 && takes_small_heads(q);
}

// libtorch's attention on a CPU reads the heads that several query heads share where they lie, with
// the same bits; its gradients, and that of other devices, get copies.
bool Decoder::reads_shared_heads(const at::Tensor& q) const {
  const bool graph = at::GradMode::is_enabled() && q.requires_grad();
  return q.is_cpu() && !graph && config_.attention_softcap == 0;
}

// Attention with the scores written out where a soft cap bends them: c · tanh(s / c). Keys and
// values have q's heads, or fewer that serve as many of them each.
at::Tensor Decoder::scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::optional<at::Tensor>& mask, bool causal) const {
  const double scale = score_scale();
  const int64_t times = q.size(1) / k.size(1);
  if (times > 1 && !reads_shared_heads(q)) {
    return scores(q, repeat_heads(k, times), repeat_heads(v, times), mask, causal);
  }
  if (config_.attention_softcap == 0 && widens_halves(q)) {
    const auto wide = [](const at::Tensor& x) { return x.to(at::kFloat); };
    const std::optional<at::Tensor> added =
        mask && mask->scalar_type() != at::kBool ? std::optional(wide(*mask)) : mask;
    return at::scaled_dot_product_attention(wide(q), wide(k), wide(v), added, 0.0, causal, scale,
                                            times > 1)
        .to(v.scalar_type());
  }
  if (config_.attention_softcap == 0) {
    return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, times > 1);
  }
  const double cap = config_.attention_softcap;
  at::Tensor raw =
      at::matmul(q, k.transpose(-1, -2)).to(at::promote_types(q.scalar_type(), at::kFloat)) *
      (scale / cap);
  raw = raw.tanh() * cap;
  if (mask && mask->scalar_type() != at::kBool) {
    raw = raw + *mask;
  } else if (mask || causal) {
    const at::Tensor start = at::full({1}, k.size(2) - q.size(2),
                                      at::TensorOptions().dtype(at::kLong).device(q.device()));
    const at::Tensor visible =
        mask ? *mask : attention_mask(start, q.size(2), k.size(2), std::nullopt);
    raw = raw.masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity());
  }
  return at::matmul(raw.softmax(-1).to(v.scalar_type()), v);
}

// [batch, heads, seq, head_dim], heads of queries or of keys and values.
struct Decoder::Projected {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
};

// Queries, keys and values, turned where `turn` is given.
Decoder::Projected Decoder::project_qkv(int layer, const BlockWeights& weights,
                                        const at::Tensor& hidden, LinearHook* hook,
                                        const std::optional<Rotation>& turn) const {
  const LayerShape& shape = config_.layers[static_cast<size_t>(layer)];
  const Family& family = *config_.family;
  at::Tensor flat_q = project(hook, Role::QProj, hidden, weights, Role::QBias);
  at::Tensor flat_k = project(hook, Role::KProj, hidden, weights, Role::KBias);
  const bool normed = weights[Role::QNorm].defined();
  if (normed && family.qk_norm_rows) {
    flat_q = norm(flat_q, weights[Role::QNorm]);
    flat_k = norm(flat_k, weights[Role::KNorm]);
  }
  at::Tensor q = split_heads(flat_q, shape.num_attention_heads, config_.head_dim);
  at::Tensor k = split_heads(flat_k, shape.num_key_value_heads, config_.head_dim);
  const at::Tensor v = split_heads(project(hook, Role::VProj, hidden, weights, Role::VBias),
                                   shape.num_key_value_heads, config_.head_dim);
  if (normed && !family.qk_norm_rows) {
    q = norm(q, weights[Role::QNorm]);
    k = norm(k, weights[Role::KNorm]);
  }
  if (turn) {
    const at::ScalarType type = turn->cos.scalar_type();
    q = rotate(q.to(type), turn->cos, turn->sin, family.interleaved_rope);
    k = rotate(k.to(type), turn->cos, turn->sin, family.interleaved_rope);
  }
  // Angles and norms are FP32; where products are in half precision, so is what attention
  // multiplies.
  return {q.to(v.scalar_type()), k.to(v.scalar_type()), v};
}

// A step of decoding, with nothing added to the scores and nothing that bends them.
bool Decoder::one_place(const Projected& states) const {
  return fused() && config_.attention_softcap == 0 &&
         config_.family->positions != Positions::Alibi && !at::GradMode::is_enabled() &&
         kernel::takes_one_place(states.q, states.k, states.v);
}

// Keys and values behind those of the cache, and with them where there are any. Of a cache in
// another type the kernel for one place reads them as they are.
void Decoder::extend(Projected& states, LayerCache& cache) const {
  const bool first = cache.length() == 0;
  const at::ScalarType type = states.v.scalar_type();
  cache.append(states.k, states.v);
  if (first && cache.values.scalar_type() != type) return;
  states.k = cache.keys;
  states.v = cache.values;
  if (one_place(states)) return;
  states.k = states.k.to(type);
  states.v = states.v.to(type);
}

// Attention of the last places of a sequence on all of it: [batch, seq, heads·head_dim].
at::Tensor Decoder::attend(const LayerShape& shape, const Projected& states) const {
  const auto& [q, k, v] = states;
  const int64_t times = shape.num_attention_heads / shape.num_key_value_heads;
  const int64_t seq = q.size(2);
  const int64_t past = k.size(2) - seq;
  const bool alibi = config_.family->positions == Positions::Alibi;
  if (one_place(states)) {
    const int64_t window = shape.sliding_window.value_or(k.size(2));
    return kernel::attend_one_place(q, k, v, score_scale(),
                                    std::max<int64_t>(0, k.size(2) - window));
  }
  const bool causal = past == 0 && plain(shape, k.size(2));
  if (causal && seq > 1 && small_heads(q)) {
    at::Tensor out = at::empty({q.size(0), seq, q.size(1) * q.size(3)}, q.options());
    attend_small_heads(q, k, v, score_scale(), out);
    return out;
  }
  std::optional<at::Tensor> mask;
  if (!causal && (seq > 1 || !plain(shape, k.size(2)))) {
    const at::Tensor start =
        at::full({1}, past, at::TensorOptions().dtype(at::kLong).device(q.device()));
    mask = attention_mask(start, seq, k.size(2), shape.sliding_window);
    if (alibi) {
      mask = alibi_bias(config_, shape, positions_from(start, seq),
                        at::arange(k.size(2), start.options()), *mask)
                 .to(v.scalar_type());
    }
  }
  // All query heads of a single place see the same keys, so they can stand as the places of their
  // group, which saves copying keys and values for each of them.
  const bool grouped = seq == 1 && !alibi;
  const at::Tensor asked = grouped ? q.reshape({q.size(0), k.size(1), times, q.size(3)}) : q;
  const at::Tensor mixed = scores(asked, k, v, mask, causal && seq > 1);
  return (grouped ? mixed : mixed.transpose(1, 2))
      .reshape({q.size(0), seq, shape.num_attention_heads * config_.head_dim});
}

// Of the branches' own places, in `out` [batch, seq, heads·head_dim]. `states` are those of all
// rows.
void Decoder::attend(const LayerShape& shape, const Projected& states,
                     const TokenTree::Branches& branches, at::Tensor& out) const {
  const int64_t own = branches.queries.size(1);
  const int64_t length = branches.keys.size(1);
  if (plain(shape, length) && small_heads(states.q)) {
    attend_small_heads(states.q, states.k, states.v, paths_of(branches), score_scale(), out);
    return;
  }
  const auto gathered = [](const at::Tensor& x, const at::Tensor& places) {
    return x.transpose(1, 2)
        .flatten(0, 1)
        .index_select(0, places.flatten())
        .unflatten(0, places.sizes())
        .transpose(1, 2);
  };
  const bool alibi = config_.family->positions == Positions::Alibi;
  at::Tensor bias = branches.bias.to(states.v.scalar_type());
  if (!plain(shape, length)) {
    bias = attention_mask(branches.starts, own, length, shape.sliding_window);
  }
  if (alibi) {
    bias = alibi_bias(config_, shape, positions_from(branches.starts, own),
                      at::arange(length, branches.starts.options()), bias)
               .to(states.v.scalar_type());
  }
  const at::Tensor mixed =
      scores(gathered(states.q, branches.queries), gathered(states.k, branches.keys),
             gathered(states.v, branches.keys), bias, false);
  const at::Tensor filled = mixed.transpose(1, 2)
                                .reshape({-1, shape.num_attention_heads * config_.head_dim})
                                .index_select(0, branches.filled);
  const at::Tensor places = branches.queries.flatten().index_select(0, branches.filled);
  out.flatten(0, 1).index_copy_(0, places, filled);
}

std::optional<Rotation> Decoder::turn_of(int layer, const at::Tensor& hidden,
                                         int64_t position) const {
  if (!rotates()) return std::nullopt;
  return rotations_->of_run(config_, layer, position, position + hidden.size(1),
                            options_of_angles(hidden));
}

at::Tensor Decoder::attention(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                              LinearHook* hook, LayerCache* cache, int64_t position) const {
  Projected states = project_qkv(layer, weights, hidden, hook, turn_of(layer, hidden, position));
  if (cache != nullptr) extend(states, *cache);
  const at::Tensor joined = attend(config_.layers[static_cast<size_t>(layer)], states);
  return project(hook, Role::OProj, joined, weights, Role::OBias);
}

at::Tensor Decoder::attention(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                              const TokenTree& tree) const {
  const LayerShape& shape = config_.layers[static_cast<size_t>(layer)];
  std::optional<Rotation> turn;
  if (rotates()) {
    turn = rotations_->of_places(config_, layer, tree.positions, hidden.size(1),
                                 options_of_angles(hidden));
  }
  const Projected states = project_qkv(layer, weights, hidden, nullptr, turn);
  at::Tensor joined =
      at::zeros({hidden.size(0), hidden.size(1), shape.num_attention_heads * config_.head_dim},
                states.v.options());
  const auto stem = [&](const at::Tensor& x) { return x.narrow(2, 0, tree.stem); };
  joined.narrow(1, 0, tree.stem)
      .copy_(attend(shape, {stem(states.q), stem(states.k), stem(states.v)}));
  for (const TokenTree::Branches& branches : tree.branches) {
    attend(shape, states, branches, joined);
  }
  return project(nullptr, Role::OProj, joined, weights, Role::OBias);
}

at::Tensor Decoder::feed_forward(const BlockWeights& weights, const at::Tensor& hidden,
                                 LinearHook* hook) const {
  const at::Tensor up = project(hook, Role::UpProj, hidden, weights, Role::UpBias);
  if (!config_.family->gated) {
    return project(hook, Role::DownProj, activate(config_.activation, up), weights, Role::DownBias);
  }
  at::Tensor gate = project(hook, Role::GateProj, hidden, weights, Role::GateBias);
  const std::optional<kernel::Gate> kind = gate_of(config_.activation);
  if (fused() && hook == nullptr && kind && kernel::takes_gate(gate, up)) {
    kernel::gate(*kind, gate, up);
    return project(hook, Role::DownProj, gate, weights, Role::DownBias);
  }
  return project(hook, Role::DownProj, activate(config_.activation, gate) * up, weights,
                 Role::DownBias);
}

// What a part adds to the residual stream: its output, normalised first where the family has
// post-norms. Where norms come after the sum instead (post-norm models), the stream is to become
// norm(hidden + output), so the difference to that is what is added.
at::Tensor Decoder::part_output(Role post_norm, Role norm_role, Role norm_bias,
                                const BlockWeights& weights, const at::Tensor& hidden,
                                const at::Tensor& output, LinearHook* hook) const {
  if (!config_.pre_norm) {
    return block_norm(norm_role, norm_bias, weights, hidden + output, hook) - hidden;
  }
  // Post-norms have no bias: any role without a tensor will do.
  return block_norm(post_norm, Role::EmbedNormBias, weights, output, hook);
}

bool Decoder::has(int layer, SubLayer part) const {
  return config_.layers[static_cast<size_t>(layer)].has(part);
}

at::Tensor Decoder::attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                                   LinearHook* hook, LayerCache* cache, int64_t position) const {
  if (!has(layer, SubLayer::Attention)) return at::zeros_like(hidden);
  const at::Tensor input =
      config_.pre_norm ? input_norm(Role::AttnNorm, Role::AttnNormBias, weights, hidden, hook)
                       : hidden;
  const at::Tensor output = attention(layer, weights, input, hook, cache, position);
  return part_output(Role::PostAttnNorm, Role::AttnNorm, Role::AttnNormBias, weights, hidden,
                     output, hook);
}

at::Tensor Decoder::attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                                   const TokenTree& tree) const {
  if (!has(layer, SubLayer::Attention)) return at::zeros_like(hidden);
  const at::Tensor input =
      config_.pre_norm ? input_norm(Role::AttnNorm, Role::AttnNormBias, weights, hidden, nullptr)
                       : hidden;
  const at::Tensor output = attention(layer, weights, input, tree);
  return part_output(Role::PostAttnNorm, Role::AttnNorm, Role::AttnNormBias, weights, hidden,
                     output, nullptr);
}

at::Tensor Decoder::feed_forward_part(int layer, const BlockWeights& weights,
                                      const at::Tensor& hidden, LinearHook* hook) const {
  if (!has(layer, SubLayer::FeedForward)) return at::zeros_like(hidden);
  const at::Tensor input = config_.pre_norm
                               ? input_norm(Role::MlpNorm, Role::MlpNormBias, weights, hidden, hook)
                               : hidden;
  const bool experts = config_.layers[static_cast<size_t>(layer)].experts > 0;
  const at::Tensor output =
      experts ? mixture(config_, layer, weights, input, hook) : feed_forward(weights, input, hook);
  return part_output(Role::PostMlpNorm, Role::MlpNorm, Role::MlpNormBias, weights, hidden, output,
                     hook);
}

at::Tensor Decoder::finish_block(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                                 const at::Tensor& attention, LinearHook* hook) const {
  const at::Tensor middle = has(layer, SubLayer::Attention) ? hidden + attention : hidden;
  if (!has(layer, SubLayer::FeedForward)) return middle;
  return middle +
         feed_forward_part(layer, weights, config_.parallel_residual ? hidden : middle, hook);
}

// A step of decoding, where it can be done on plain memory.
std::optional<at::Tensor> Decoder::decoded(int layer, const BlockWeights& weights,
                                           const at::Tensor& hidden, LinearHook* hook,
                                           LayerCache* cache, int64_t position) const {
  if (!fused() || cache == nullptr || hidden.size(1) != 1) return std::nullopt;
  const DecodeLayer step{
      config_,     layer,         weights, *cache, turn_of(layer, hidden, position),
      norm_rule(), score_scale(), hook};
  if (!takes_decode_layer(step, hidden)) return std::nullopt;
  at::Tensor output = hidden.clone();
  decode_layer(step, output);
  return output;
}

at::Tensor Decoder::block(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                          LinearHook* hook, LayerCache* cache, int64_t position) const {
  if (auto output = decoded(layer, weights, hidden, hook, cache, position)) return *output;
  const at::Tensor attention = has(layer, SubLayer::Attention)
                                   ? attention_part(layer, weights, hidden, hook, cache, position)
                                   : at::Tensor();
  return finish_block(layer, weights, hidden, attention, hook);
}

}  // namespace prunus
