#pragma once
#include <array>
#include <cstdint>

#include "prunus/model/config.h"

namespace prunus {

// What a model costs, from its configuration alone: no weight is read. MACs and bytes are doubles:
// exact below 2^53, and no product of sizes can overflow.

/// Parameters of each role, summed over the layers. A tied head counts as the embedding only.
/// Throws Corrupt where the sizes ask for more than 2^44 parameters.
std::array<int64_t, kRoleCount> parameters_by_role(const ModelConfig& config);

/// Parameters of the whole model. Throws as parameters_by_role.
int64_t count_parameters(const ModelConfig& config);

/// Multiply-accumulates of one forward pass, matrix products only; no norm, softmax, activation,
/// rotary embedding or bias.
struct Macs {
  double projections = 0;  ///< q, k, v, o
  double attention = 0;    ///< scores and mixing of the values
  double ffn = 0;          ///< gate, up, down
  double head = 0;
  double total() const { return projections + attention + ffn + head; }
};

/// MACs for one sequence of T = `tokens` without a KV cache. Per layer, with h = hidden_size,
/// n query heads, g key/value heads, d = head_dim, I = intermediate_size:
///   projections 2·T·h·d·(n + g);  ffn 3·T·h·I;  attention 2·n·d·K;  once: head T·h·vocab_size.
/// A sub-layer that a layer lacks costs nothing. K is the number of keys that the queries really
/// see: Σ_{t=1..T} min(t, w), w = sliding_window or T. So K = T(T + 1)/2 under plain causal
/// attention, where a kernel that computes the masked half too does T². The head runs at every
/// position, as in scoring; generating needs it at one only. Throws InvalidArgument where tokens <
/// 0.
Macs count_macs(const ModelConfig& config, int64_t tokens);

/// MACs as LLM-Pruner publishes them, to compare with its tables. Per layer, S = `tokens`:
///   4·S·h·n·d (q, k, v, o) + n·(2·S²·d + S²) + 4·S·n·d (rotary) + 3·S·h·I + S·I (activation)
///   + 4·S·h (norms);  once: S·h·vocab_size + 2·S·h (norm).
/// Causality is not used, and key/value heads count as many as query heads: too high under GQA.
/// Throws InvalidArgument where tokens < 0.
/// Source: arXiv:2305.11627 table 3, and the repository's test_speedup.py, whose 424.02 G for
/// LLaMA-7B at 64 tokens and four pruned variants it gives to every printed digit.
double llm_pruner_macs(const ModelConfig& config, int64_t tokens = 64);

/// Bytes of all parameters at `bits` each. Scales and zero points of a quantised format are extra
/// bits: GPTQ with groups of 128 is about 4.2, not 4. Throws as parameters_by_role.
double weight_bytes(const ModelConfig& config, double bits);

/// Bytes of the keys and values of `tokens` positions of one sequence at `bits` per element:
/// Σ over layers of 2 · num_key_value_heads · head_dim · tokens · bits / 8. A sliding-window layer
/// holds its window at most. Throws InvalidArgument where tokens < 0.
double kv_cache_bytes(const ModelConfig& config, int64_t tokens, double bits = 16);

/// Parameters of LoRA adapters of this rank on q, k, v, o, gate, up and down of every layer:
/// Σ rank · (rows + columns). Throws InvalidArgument where rank is outside 1 to 65536, and as
/// parameters_by_role.
/// Source: Hu et al., arXiv:2106.09685 section 4.1.
int64_t lora_parameters(const ModelConfig& config, int64_t rank);

/// Bits per weight of QLoRA's base: NF4, an 8-bit scale per 64 weights, and an FP32 scale per 256
/// of those: 4 + 8/64 + 32/(64·256). Source: Dettmers et al., arXiv:2305.14314 section 3.
inline constexpr double kNf4Bits = 4 + 8.0 / 64 + 32.0 / (64 * 256);

/// Bytes that training holds all the time: weights, gradients, optimiser states. Activations are
/// not in it: they depend on batch, length and checkpointing.
struct FineTuningBytes {
  /// All parameters, everything in BF16: weight 2 + gradient 2 + two Adam states 4 = 8 each.
  double full_bf16 = 0;
  /// All parameters, mixed precision: BF16 weight 2 + gradient 2, FP32 master weight 4 + two Adam
  /// states 8 = 16 each.
  double full_mixed = 0;
  /// Frozen BF16 weights 2; 16 per adapter parameter: FP32 weight, gradient and two Adam states.
  double lora = 0;
  /// Adapters as in lora; frozen matrices of the layers at kNf4Bits, embedding, head, norms and
  /// biases in BF16.
  double qlora = 0;
};

/// Throws as lora_parameters.
FineTuningBytes fine_tuning_bytes(const ModelConfig& config, int64_t rank = 16);

}  // namespace prunus
