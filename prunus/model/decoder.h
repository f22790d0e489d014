#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"

namespace prunus {

/// Stands between the decoder and its matrix products: calibration watches through it.
class LinearTap {
 public:
  virtual ~LinearTap() = default;
  /// y = x·Wᵀ + b. input [batch, seq, in]; weight [out, in]; bias [out] or undefined.
  virtual at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias) = 0;
  /// y = normalised · gain, the end of an RMSNorm over the hidden channels.
  /// normalised [batch, seq, hidden_size]; gain [hidden_size].
  virtual at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain);
};

/// Keys and values of earlier positions of one layer, [batch, kv_heads, seq, head_dim].
/// Views of memory with room for more, which doubles when it is full; so for use without gradients.
struct LayerCache {
  at::Tensor keys;
  at::Tensor values;
  at::Tensor key_room;
  at::Tensor value_room;
};

/// Rows that hold several sequences with a common beginning, which is computed once: where each
/// place stands in its sequence, and which places are its own sequence's (itself included).
struct TokenTree {
  at::Tensor positions;  ///< int64 [batch, seq]
  at::Tensor visible;    ///< bool [batch, 1, seq, seq]: query, key; every query sees itself
};

/// The one forward pass of every family: plain functions of weights and hidden states, so that it
/// runs on one layer at a time. FP32 throughout; the device is that of the tensors given.
class Decoder {
 public:
  explicit Decoder(const ModelConfig& config) : config_(config) {}

  /// One layer. hidden [batch, seq, hidden_size] → same shape. `cache`, where given, is extended by
  /// this call's keys and values; `position` is the index of the first token of `hidden`.
  at::Tensor block(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                   LinearTap* tap = nullptr, LayerCache* cache = nullptr,
                   int64_t position = 0) const;

  /// What the attention part adds to the residual stream: o(attention(norm(hidden))), same shape.
  at::Tensor attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                            LinearTap* tap = nullptr, LayerCache* cache = nullptr,
                            int64_t position = 0) const;
  /// The same for rows that are trees of sequences. Costs seq² a row whatever is visible.
  at::Tensor attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                            const TokenTree& tree) const;
  /// What the feed-forward part adds to it: down(act(gate(x))·up(x)) with x = norm(hidden).
  at::Tensor feed_forward_part(const BlockWeights& weights, const at::Tensor& hidden,
                               LinearTap* tap = nullptr) const;

  /// x / rms(x) · weight over the last axis. Source: Zhang & Sennrich, arXiv:1910.07467.
  at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight) const;
  /// x / rms(x) over the last axis.
  at::Tensor normalise(const at::Tensor& x) const;

 private:
  at::Tensor attention(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                       LinearTap* tap, LayerCache* cache, int64_t position,
                       const TokenTree* tree = nullptr) const;
  at::Tensor feed_forward(const BlockWeights& weights, const at::Tensor& hidden,
                          LinearTap* tap) const;
  at::Tensor block_norm(Role role, const BlockWeights& weights, const at::Tensor& hidden,
                        LinearTap* tap) const;

  const ModelConfig& config_;
};

/// Rotation frequencies of the head_dim/2 channel pairs of a layer, in radians per position, FP32
/// [head_dim/2]. Source: config `rope_theta` and scaling as documented at Rope.
at::Tensor rope_frequencies(const ModelConfig& config, int layer = 0);

/// Rows of the embedding for ids [batch, seq] as FP32 [batch, seq, hidden_size] on `device`; only
/// the rows used are read from the file.
/// Throws InvalidArgument if an id is outside the vocabulary.
at::Tensor embed(const Model& model, const at::Tensor& ids, at::Device device);

}  // namespace prunus
