#pragma once
#include <cstdint>
#include <deque>
#include <mutex>

#include <ATen/core/Tensor.h>

#include "prunus/model/config.h"

namespace prunus {

/// Rotation frequencies of the rotary_dim/2 channel pairs of a layer, in radians per position, FP32
/// [rotary_dim/2], for a sequence of `length` tokens. Source: config `rope_theta` and scaling as
/// documented at Rope.
at::Tensor rope_frequencies(const ModelConfig& config, int layer = 0, int64_t length = 0);

/// What a query head of `heads` adds to its scores per token of distance, negated: FP32 [heads].
/// Source: arXiv:2108.12409; numbers of heads that are no power of two as its authors' code has it.
at::Tensor alibi_slopes(int64_t heads);

/// Score biases of a layer's heads under ALiBi, FP32 [1 or batch, heads, queries, keys]: −slope ·
/// distance, and −∞ where `visible` [..., queries, keys] is false. Positions int64 [..., queries]
/// and
/// [..., keys].
at::Tensor alibi_bias(const ModelConfig& config, const LayerShape& shape, const at::Tensor& queries,
                      const at::Tensor& keys, const at::Tensor& visible);

/// Tokens that a sequence may have: the model's context; with "dynamic" rotary embedding, which
/// grows with the sequence, `factor` times that.
int64_t longest_sequence(const ModelConfig& config);

/// By what queries and keys are turned: [seq, pairs], or [batch, 1, seq, pairs] where rows differ.
struct Rotation {
  at::Tensor cos;
  at::Tensor sin;
};
/// For `places` int64 [seq] or [batch, 1, seq] of a sequence of `length` tokens, in the dtype and
/// on the device of `options`.
Rotation rotation_of(const ModelConfig& config, int layer, const at::Tensor& places, int64_t length,
                     const at::TensorOptions& options);

/// The angles of a pass, computed once for all layers that turn alike: thirty times the cosines of
/// one position took as long as all attention of a step of decoding. For any number of threads.
class RotationCache {
 public:
  /// rotation_of() the places first … end − 1 of a sequence of `end` tokens.
  Rotation of_run(const ModelConfig& config, int layer, int64_t first, int64_t end,
                  const at::TensorOptions& options);
  /// rotation_of() `places` int64 [batch, seq], which must not change while this cache lives.
  Rotation of_places(const ModelConfig& config, int layer, const at::Tensor& places, int64_t length,
                     const at::TensorOptions& options);

 private:
  struct Kept {
    const ModelConfig* config;
    int layer;          // the first that turned so
    at::Tensor places;  // undefined: a run
    int64_t first;
    int64_t length;
    at::ScalarType type;
    at::Device device;
    Rotation rotation;
  };
  template <typename Compute>
  Rotation find_or(Kept wanted, Compute compute);

  std::mutex lock_;
  std::deque<Kept> kept_;  // the newest last, few: a window's angles and the other layers'
};

/// Rotates the first channels of x [batch, heads, seq, head_dim], two for each pair of `cos`: (i, i
/// + pairs), or `neighbours` (2i, 2i + 1).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool neighbours);

}  // namespace prunus
