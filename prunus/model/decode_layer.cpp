#include "prunus/model/decode_layer.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/kernel/any_type.h"
#include "prunus/kernel/gate.h"
#include "prunus/kernel/one_place.h"
#include "prunus/kernel/row_product.h"
#include "prunus/model/activation.h"

namespace prunus {
namespace {

// Memory of a step, used again by the next: [rows, …] each.
struct Buffers {
  std::vector<float> input, q, k, v, mixed, gate, up, output;
};

float* sized(std::vector<float>& memory, int64_t count) {
  if (std::ssize(memory) < count) memory.resize(static_cast<size_t>(count));
  return memory.data();
}

bool multiplies(const BlockWeights& weights, Role role) {
  const at::Tensor& weight = weights[role];
  return weights.packed(role) != nullptr ||
         (weight.defined() && weight.dim() == 2 && weight.is_cpu() && weight.stride(1) == 1 &&
          kernel::is_float_up_to_32(weight.scalar_type()));
}

kernel::StoredMatrix matrix_of(const BlockWeights& weights, Role role) {
  const PackedWeight* packed = weights.packed(role);
  return packed != nullptr ? packed->matrix() : kernel::stored_matrix(weights[role]);
}

bool has_all(const BlockWeights& weights, std::span<const Role> roles) {
  return weights[roles[0]].defined() && std::all_of(roles.begin() + 1, roles.end(), [&](Role role) {
           return multiplies(weights, role);
         });
}

bool plain_vector(const at::Tensor& x) {
  return !x.defined() || (x.is_contiguous() && kernel::is_float_up_to_32(x.scalar_type()));
}

constexpr Role kAttention[] = {Role::AttnNorm, Role::QProj, Role::KProj, Role::VProj, Role::OProj};
constexpr Role kFeedForward[] = {Role::MlpNorm, Role::GateProj, Role::UpProj, Role::DownProj};
constexpr Role kVectors[] = {
    Role::AttnNorm,    Role::AttnNormBias, Role::MlpNorm,  Role::MlpNormBias, Role::PostAttnNorm,
    Role::PostMlpNorm, Role::QNorm,        Role::KNorm,    Role::QBias,       Role::KBias,
    Role::VBias,       Role::OBias,        Role::GateBias, Role::UpBias,      Role::DownBias};

class Step {
 public:
  Step(const DecodeLayer& step, at::Tensor& hidden)
      : step_(step),
        shape_(step.config.layers[static_cast<size_t>(step.layer)]),
        rows_(hidden.size(0)),
        width_(hidden.size(2)),
        hidden_(hidden.mutable_data_ptr<float>()) {}

  void run() {
    float* input = sized(buffers().input, rows_ * width_);
    const float* attention = nullptr;
    if (shape_.has(SubLayer::Attention)) {
      norm(hidden_, Role::AttnNorm, Role::AttnNormBias, input);
      attention = attend(input);
    }
    if (!shape_.has(SubLayer::FeedForward)) return add(attention);
    const bool parallel = step_.config.parallel_residual;
    if (parallel) norm(hidden_, Role::MlpNorm, Role::MlpNormBias, input);
    add(attention);
    if (!parallel) norm(hidden_, Role::MlpNorm, Role::MlpNormBias, input);
    add(feed_forward(input));
  }

 private:
  static Buffers& buffers() {
    thread_local Buffers all;
    return all;
  }
  const at::Tensor& weight(Role role) const { return step_.weights[role]; }
  void before(Role role) const {
    if (step_.watch != nullptr) step_.watch->before(role);
  }
  void after(Role role) const {
    if (step_.watch != nullptr) step_.watch->after(role);
  }

  void norm(const float* x, Role role, Role bias, float* y) const {
    kernel::norm_rows(x, rows_, width_, weight(role), weight(bias), step_.norm, y);
    after(role);
  }
  void add(const float* more) const {
    if (more == nullptr) return;
    for (int64_t i = 0; i < rows_ * width_; ++i) hidden_[i] += more[i];
  }
  kernel::RowProduct product(Role role, float* y) const {
    return {matrix_of(step_.weights, role), &weight(*bias_of(role)), y};
  }
  // The products of `x`, into what `list` names; watched as the first of them.
  template <size_t kCount>
  void multiply(const float* x, Role first,
                const std::array<kernel::RowProduct, kCount>& list) const {
    before(first);
    kernel::row_products(x, rows_, list);
    after(first);
  }

  // What the attention part adds.
  float* attend(const float* input) const {
    const int64_t dim = step_.config.head_dim;
    const int64_t heads = shape_.num_attention_heads, kv_heads = shape_.num_key_value_heads;
    Buffers& all = buffers();
    float* q = sized(all.q, rows_ * heads * dim);
    float* k = sized(all.k, rows_ * kv_heads * dim);
    float* v = sized(all.v, rows_ * kv_heads * dim);
    multiply<3>(input, Role::QProj,
                {product(Role::QProj, q), product(Role::KProj, k), product(Role::VProj, v)});
    prepare(q, heads, Role::QNorm);
    prepare(k, kv_heads, Role::KNorm);
    keep(k, v);
    float* mixed = sized(all.mixed, rows_ * heads * dim);
    const int64_t length = step_.cache.length();
    const int64_t window = shape_.sliding_window.value_or(length);
    kernel::attend_one_place(q, heads, step_.cache.keys, step_.cache.values, step_.score_scale,
                             std::max<int64_t>(0, length - window), mixed);
    return output(mixed, Role::OProj, Role::PostAttnNorm);
  }

  float* feed_forward(const float* input) const {
    const int64_t count = rows_ * shape_.intermediate_size;
    float* gate = sized(buffers().gate, count);
    float* up = sized(buffers().up, count);
    multiply<2>(input, Role::GateProj, {product(Role::GateProj, gate), product(Role::UpProj, up)});
    kernel::gate(*gate_of(step_.config.activation), gate, up, count);
    return output(gate, Role::DownProj, Role::PostMlpNorm);
  }

  float* output(const float* x, Role role, Role post_norm) const {
    float* y = sized(buffers().output, rows_ * width_);
    multiply<1>(x, role, {product(role, y)});
    if (weight(post_norm).defined()) {
      kernel::norm_rows(y, rows_, width_, weight(post_norm), {}, step_.norm, y);
      after(post_norm);
    }
    return y;
  }

  // The norm of queries or keys, where there is one, and their rotation.
  void prepare(float* x, int64_t heads, Role norm_role) const {
    const int64_t dim = step_.config.head_dim;
    if (weight(norm_role).defined()) {
      const bool whole = step_.config.family->qk_norm_rows;
      kernel::norm_rows(x, whole ? rows_ : rows_ * heads, whole ? heads * dim : dim,
                        weight(norm_role), {}, step_.norm, x);
    }
    if (!step_.turn) return;
    const auto *cos = step_.turn->cos.const_data_ptr<float>(),
               *sin = step_.turn->sin.const_data_ptr<float>();
    const int64_t pairs = step_.turn->cos.size(-1);
    const bool neighbours = step_.config.family->interleaved_rope;
    const int64_t apart = neighbours ? 1 : pairs, next = neighbours ? 2 : 1;
    for (int64_t head = 0; head < rows_ * heads; ++head, x += dim) {
      for (int64_t i = 0; i < pairs; ++i) {
        float &one = x[i * next], &other = x[i * next + apart];
        const float first = one, second = other;
        one = first * cos[i] - second * sin[i];
        other = second * cos[i] + first * sin[i];
      }
    }
  }

  // Behind the cache's keys and values, in its type.
  void keep(const float* k, const float* v) const {
    step_.cache.extend(1);
    for (const auto& [from, to] : {std::pair(k, &step_.cache.keys), {v, &step_.cache.values}}) {
      kernel::with_type(to->scalar_type(), [&, from = from, to = to](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const int64_t heads = to->size(1), dim = to->size(3);
        T* last = to->mutable_data_ptr<T>() + (to->size(2) - 1) * to->stride(2);
        for (int64_t i = 0; i < rows_ * heads; ++i) {
          T* place = last + i / heads * to->stride(0) + i % heads * to->stride(1);
          for (int64_t c = 0; c < dim; ++c) place[c] = static_cast<T>(from[i * dim + c]);
        }
      });
    }
  }

  const DecodeLayer& step_;
  const LayerShape& shape_;
  int64_t rows_;
  int64_t width_;
  float* hidden_;  // [rows, width]
};

}  // namespace

bool takes_decode_layer(const DecodeLayer& step, const at::Tensor& hidden) {
  const ModelConfig& config = step.config;
  const BlockWeights& weights = step.weights;
  const LayerShape& shape = config.layers[static_cast<size_t>(step.layer)];
  const at::Tensor& keys = step.cache.keys;
  const bool model = config.pre_norm && config.family->gated && gate_of(config.activation) &&
                     config.attention_softcap == 0 &&
                     config.family->positions != Positions::Alibi && shape.experts == 0;
  const bool turned = !step.turn || step.turn->cos.scalar_type() == at::kFloat;
  const bool states = !at::GradMode::is_enabled() && hidden.is_cpu() &&
                      hidden.scalar_type() == at::kFloat && hidden.size(1) == 1 &&
                      hidden.size(0) <= kernel::kMostRows && hidden.is_contiguous();
  const bool watched = step.watch == nullptr || step.watch->only_watches();
  const bool cached = keys.defined() && keys.stride(3) == 1 &&
                      keys.size(3) <= kernel::kMostHeadChannels &&
                      kernel::is_float_up_to_32(keys.scalar_type());
  return model && turned && states && watched &&
         (!shape.has(SubLayer::Attention) || (cached && has_all(weights, kAttention))) &&
         (!shape.has(SubLayer::FeedForward) || has_all(weights, kFeedForward)) &&
         std::all_of(std::begin(kVectors), std::end(kVectors),
                     [&](Role role) { return plain_vector(weights[role]); });
}

void decode_layer(const DecodeLayer& step, at::Tensor& hidden) { Step(step, hidden).run(); }

}  // namespace prunus
