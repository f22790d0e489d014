#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace prunus {

/// A causal sequence laid out somewhere in a batch: its places in order, counted in all rows, of
/// which those from `start` on ask.
struct AttentionPath {
  std::span<const int64_t> places;
  int64_t start = 0;
};

/// How many floats the vectors have for which there is a kernel on this machine, the fastest first:
/// 16 with AVX-512, 8 with AVX2.
std::vector<int64_t> small_heads_lanes();

/// For tiny models: whether attend_small_heads() takes these queries: FP32 on a CPU with AVX2,
/// without gradients, at most 32 channels a head. There it is 1.2 to 3 times as fast as libtorch,
/// whose kernel packs matrices of so few columns at a higher cost than their products have, and
/// computes pairs of query and key that are masked. Heads of the models that people prune have 64
/// to 256 channels: at these it wins on short sequences with AVX-512 alone, and loses on long ones
/// (docs/results.md, bench/attention_bench), so it is not used.
bool takes_small_heads(const at::Tensor& queries);

/// softmax(scale · q·kᵀ)·v of every asking place on its path up to itself, on libtorch's threads.
/// q [batch, heads, seq, d]; k, v [batch, kv_heads, seq, d], the last dimension contiguous, others
/// of any stride; out [batch, seq, heads·d], contiguous: written at the asking places only. FP32
/// sums, exponentials within 2e-7; what is not finite gives NaN. Memory: a path's keys and values
/// of one head, and eight rows of scores, per thread. `lanes`: one of small_heads_lanes(), 0 the
/// first; throws InvalidArgument for others.
void attend_small_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::span<const AttentionPath> paths, double scale, at::Tensor& out,
                        int64_t lanes = 0);
/// The same where every row is a sequence.
void attend_small_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        at::Tensor& out, int64_t lanes = 0);

}  // namespace prunus
