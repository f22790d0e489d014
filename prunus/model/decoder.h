#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/kernel/norm.h"
#include "prunus/model/layer_cache.h"
#include "prunus/model/linear_hook.h"
#include "prunus/model/model.h"
#include "prunus/model/positions.h"

namespace prunus {

/// Rows that hold several sequences with a common beginning, which is computed once. A row begins
/// with its stem, one sequence; each branch is the end of a sequence whose beginning lies in front.
struct TokenTree {
  /// Branches of about the same size, padded to the longest; what is padded repeats a place.
  struct Branches {
    at::Tensor starts;   ///< int64 [n]: places in front of the branch
    at::Tensor lengths;  ///< int64 [n]: those and its own
    at::Tensor queries;  ///< int64 [n, own]: the branch's places, counted in all rows
    at::Tensor keys;     ///< int64 [n, length]: places of the sequence from its start, likewise
    at::Tensor bias;     ///< FP32 [n or 1, 1, own, length]: 0 or −∞, causal_mask(starts, …)
    at::Tensor filled;   ///< int64 [m]: which of queries.flatten() are no padding
  };
  at::Tensor positions;  ///< int64 [batch, seq]: where each place stands in its sequence
  int64_t stem = 0;      ///< length of the longest stem
  std::vector<Branches> branches;
};

/// What causal attention adds to the scores of `seq` queries, of which the first stands at position
/// `starts` (int64 [n]), on keys 0 … length − 1: 0 or −∞, FP32 [n, 1, seq, length].
at::Tensor causal_mask(const at::Tensor& starts, int64_t seq, int64_t length);

/// The one forward pass of every family: plain functions of weights and hidden states, so that it
/// runs on one layer at a time. Matrix products and attention are in the dtype of the weights, all
/// else in FP32 or more; the device is that of the tensors given.
class Decoder {
 public:
  /// Which kernels a pass without gradients may use. Those of our own differ from the operators of
  /// a pass with gradients in the last bits.
  enum class Kernels {
    Libtorch,    ///< none of our own: to the bit what a pass with gradients gives
    Fused,       ///< those of kernel/
    SmallHeads,  ///< attend_small_heads() too
  };
  explicit Decoder(const ModelConfig& config, Kernels kernels = Kernels::Fused)
      : config_(config), kernels_(kernels) {}

  /// One layer. hidden [batch, seq, hidden_size] → same shape. `cache`, where given, is extended by
  /// this call's keys and values; `position` is the index of the first token of `hidden`.
  at::Tensor block(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                   LinearHook* hook = nullptr, LayerCache* cache = nullptr,
                   int64_t position = 0) const;

  /// What the attention part adds to the residual stream, same shape; zeros where the layer has
  /// none, as the parts below.
  at::Tensor attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                            LinearHook* hook = nullptr, LayerCache* cache = nullptr,
                            int64_t position = 0) const;
  /// The same for rows that are trees of sequences: a stem's attention is causal, a branch's that
  /// of its places on its whole sequence. The output is 0 where a row is padded.
  at::Tensor attention_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                            const TokenTree& tree) const;
  /// What the feed-forward part adds to the residual stream that it reads, same shape.
  at::Tensor feed_forward_part(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                               LinearHook* hook = nullptr) const;
  /// The layer's output, from its input and what the attention part added to it; any places of it.
  /// `attention` is not looked at where the layer has no attention. The input itself where it has
  /// neither part.
  at::Tensor finish_block(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                          const at::Tensor& attention, LinearHook* hook = nullptr) const;

  /// The family's norm over the last axis: x / rms(x) · w, x / rms(x) · (1 + w), or
  /// (x − mean) / std · w + b. Source: arXiv:1910.07467, arXiv:1607.06450.
  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {}) const;
  /// The same up to gain and bias.
  at::Tensor normalise(const at::Tensor& x) const;
  /// What the normalised channels are multiplied by: w or 1 + w.
  at::Tensor gain(const at::Tensor& weight) const;

 private:
  bool has(int layer, SubLayer part) const;
  struct Projected;
  Projected project_qkv(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                        LinearHook* hook, const std::optional<Rotation>& turn) const;
  bool rotates() const { return config_.family->positions == Positions::Rope; }
  at::Tensor attention(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                       LinearHook* hook, LayerCache* cache, int64_t position) const;
  at::Tensor attention(int layer, const BlockWeights& weights, const at::Tensor& hidden,
                       const TokenTree& tree) const;
  at::Tensor attend(const LayerShape& shape, const Projected& states) const;
  void attend(const LayerShape& shape, const Projected& states, const TokenTree::Branches& branches,
              at::Tensor& out) const;
  bool plain(const LayerShape& shape, int64_t length) const;
  bool small_heads(const at::Tensor& q) const;
  bool reads_shared_heads(const at::Tensor& q) const;
  void extend(Projected& states, LayerCache& cache) const;
  bool one_place(const Projected& states) const;
  std::optional<at::Tensor> decoded(int layer, const BlockWeights& weights,
                                    const at::Tensor& hidden, LinearHook* hook, LayerCache* cache,
                                    int64_t position) const;
  std::optional<Rotation> turn_of(int layer, const at::Tensor& hidden, int64_t position) const;
  bool fused() const { return kernels_ != Kernels::Libtorch; }
  double score_scale() const;
  at::Tensor scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const std::optional<at::Tensor>& mask, bool causal) const;
  at::Tensor feed_forward(const BlockWeights& weights, const at::Tensor& hidden,
                          LinearHook* hook) const;
  at::Tensor block_norm(Role role, Role bias, const BlockWeights& weights, const at::Tensor& hidden,
                        LinearHook* hook, at::ScalarType out = at::kFloat) const;
  at::Tensor input_norm(Role role, Role bias, const BlockWeights& weights, const at::Tensor& hidden,
                        LinearHook* hook) const;
  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::ScalarType out) const;
  kernel::NormRule norm_rule() const;
  at::Tensor part_output(Role post_norm, Role norm, Role norm_bias, const BlockWeights& weights,
                         const at::Tensor& hidden, const at::Tensor& output,
                         LinearHook* hook) const;

  const ModelConfig& config_;
  Kernels kernels_;
  std::shared_ptr<RotationCache> rotations_ = std::make_shared<RotationCache>();
};

/// Output of the embedding: rows of the table as FP32 at least [batch, seq, hidden_size] on
/// `device`, with what the family adds: a factor, the embedding of the position, a norm.
/// `positions` int64 [batch, seq], where undefined 0, 1, 2 … Only the rows used are read from the
/// file. ids int64 [batch, seq]. Throws InvalidArgument if an id is outside the vocabulary or a
/// position outside the context.
at::Tensor embed(const Model& model, const at::Tensor& ids, at::Device device,
                 const at::Tensor& positions = {});

/// The rows alone: [batch, seq, hidden_size], FP32 at least. Throws as embed().
at::Tensor embedding_rows(const Model& model, const at::Tensor& ids, at::Device device);

/// What embed() does behind the rows, with its weights held.
class InputEmbedding {
 public:
  InputEmbedding(const Model& model, at::Device device);
  /// With these weights, undefined where the model has none: the table of positions, and gain and
  /// bias of the norm. They get gradients where they require them. Keeps a reference to `config`.
  InputEmbedding(const ModelConfig& config, at::Tensor positions, at::Tensor norm, at::Tensor bias)
      : config_(config),
        table_(std::move(positions)),
        weight_(std::move(norm)),
        bias_(std::move(bias)) {}
  /// rows [batch, seq, hidden_size] → same shape. Throws InvalidArgument as embed().
  at::Tensor finish(const at::Tensor& rows, const at::Tensor& positions = {}) const;
  int64_t bytes() const;  ///< of the weights held

 private:
  const ModelConfig& config_;
  at::Tensor table_;  // of positions
  at::Tensor weight_;
  at::Tensor bias_;
};

/// Whether the embedding's output is the rows of its table, with nothing added.
bool plain_embedding(const ModelConfig& config);

}  // namespace prunus
