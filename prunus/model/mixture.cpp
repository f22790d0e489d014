#include "prunus/model/mixture.h"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/activation.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

at::Tensor product(LinearHook* hook, Role role, const at::Tensor& x, const BlockWeights& weights) {
  return hook != nullptr ? hook->linear(role, x, weights[role], {})
                         : apply_linear(x, weights[role]);
}

// What a token chose, and what the outputs are multiplied by: int64 and as hidden, [..., chosen].
struct Routing {
  at::Tensor experts;
  at::Tensor shares;
};

Routing route(const ModelConfig& config, const LayerShape& shape, const BlockWeights& weights,
              const at::Tensor& hidden, LinearHook* hook) {
  const at::Tensor logits = product(hook, Role::Router, hidden, weights)
                                .to(at::promote_types(hidden.scalar_type(), at::kFloat));
  auto [best, which] =
      logits.softmax(-1).topk(std::min(config.experts_per_token, shape.experts), -1);
  if (config.renormalised_router) best = best / best.sum(-1, true);
  return {which, best.to(hidden.scalar_type())};
}

// One part as wide as all experts together, whose inner channels are multiplied by their expert's
// share: 0 where it was not chosen.
at::Tensor joined(const ModelConfig& config, const LayerShape& shape, const BlockWeights& weights,
                  const at::Tensor& hidden, const Routing& routing, LinearHook* hook) {
  std::vector<int64_t> sizes = routing.shares.sizes().vec();
  sizes.back() = shape.experts;
  const at::Tensor share =
      at::zeros(sizes, routing.shares.options()).scatter(-1, routing.experts, routing.shares);
  const at::Tensor gate = product(hook, Role::GateProj, hidden, weights);
  const at::Tensor up = product(hook, Role::UpProj, hidden, weights);
  const at::Tensor inner = (activate(config.activation, gate) * up)
                               .unflatten(-1, {shape.experts, shape.intermediate_size}) *
                           share.unsqueeze(-1);
  return hook->linear(Role::DownProj, inner.flatten(-2), weights[Role::DownProj], {});
}

// Each expert on its own tokens.
class Dispatch {
 public:
  Dispatch(const ModelConfig& config, const LayerShape& shape, const BlockWeights& weights,
           LinearHook* hook)
      : activation_(config.activation), experts_(shape.experts), weights_(weights), hook_(hook) {
    const std::vector<int64_t> sizes(static_cast<size_t>(experts_), shape.intermediate_size);
    gate_ = weights[Role::GateProj].split_with_sizes(sizes, 0);
    up_ = weights[Role::UpProj].split_with_sizes(sizes, 0);
    down_ = weights[Role::DownProj].split_with_sizes(sizes, 1);
  }

  at::Tensor run(const at::Tensor& hidden, const Routing& routing) {
    sort(hidden, routing);
    hidden_ = hidden.flatten(0, -2);
    out_ = at::zeros_like(hidden_);
    // With gradients all experts are gathered at once: the backward pass of each gathering adds a
    // tensor of the size of all tokens. Else one is at work at a time.
    const auto all = static_cast<size_t>(experts_);
    const bool together = at::GradMode::is_enabled() && hidden.requires_grad();
    for (size_t begin = 0; begin < all; begin += together ? all : 1) {
      run_group(begin, together ? all : begin + 1);
    }
    return out_.view(hidden.sizes());
  }

 private:
  // Puts the pairs of a token and an expert in the order of experts, and of tokens in each.
  void sort(const at::Tensor& hidden, const Routing& routing) {
    const at::Tensor which = routing.experts.flatten();
    const at::Tensor order = which.argsort(/*stable=*/true, 0, false);
    tokens_ = order.div(routing.experts.size(-1), "floor");
    shares_ = routing.shares.flatten().index_select(0, order).unsqueeze(1);
    const int64_t seq = hidden.size(-2);
    const int64_t rows = hidden.numel() / hidden.size(-1) / seq;
    const at::Tensor places = which.index_select(0, order) * rows + tokens_.div(seq, "floor");
    const at::Tensor counts = at::bincount(places, {}, experts_ * rows).to(at::kCPU);
    const auto* count = counts.const_data_ptr<int64_t>();
    for (int64_t expert = 0; expert < experts_; ++expert, count += rows) {
      row_tokens_.emplace_back(count, count + rows);
      count_.push_back(std::accumulate(count, count + rows, int64_t{0}));
    }
  }

  bool shown(size_t expert) const {
    return count_[expert] > 0 || (hook_ != nullptr && hook_->experts() == LinearHook::Experts::All);
  }

  void run_group(size_t begin, size_t end) {
    const auto at = [](size_t i) { return static_cast<std::ptrdiff_t>(i); };
    const std::vector<int64_t> counts(count_.begin() + at(begin), count_.begin() + at(end));
    const int64_t pairs = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    const at::Tensor tokens = tokens_.narrow(0, first_pair_, pairs);
    const auto rows = tokens.split_with_sizes(counts);
    const auto shares = shares_.narrow(0, first_pair_, pairs).split_with_sizes(counts);
    auto x = hidden_.index_select(0, tokens).split_with_sizes(counts);
    first_pair_ += pairs;
    std::vector<at::Tensor> inner(end - begin);
    const auto for_each = [&](const auto& act) {
      for (size_t expert = begin; expert < end; ++expert) {
        if (shown(expert)) act(expert, expert - begin);
      }
    };
    for_each([&](size_t expert, size_t i) {
      inner[i] = own_product(Role::GateProj, expert, x[i], gate_[expert]);
    });
    for_each([&](size_t expert, size_t i) {
      const at::Tensor up = own_product(Role::UpProj, expert, x[i], up_[expert]);
      inner[i] = activate(activation_, inner[i]) * up * shares[i];
    });
    x.clear();
    for_each([&](size_t expert, size_t i) {
      const at::Tensor y = own_product(Role::DownProj, expert, inner[i], down_[expert]);
      inner[i] = at::Tensor();
      out_.index_add_(0, rows[i], y.to(out_.scalar_type()));
    });
  }

  at::Tensor own_product(Role role, size_t expert, const at::Tensor& x,
                         const at::Tensor& weight) const {
    if (hook_ == nullptr) return apply_linear(x, weight);
    return hook_->expert_linear(role, x, weight,
                                {.expert = static_cast<int>(expert),
                                 .experts = static_cast<int>(experts_),
                                 .dim = role == Role::DownProj ? 1 : 0,
                                 .joined = weights_[role],
                                 .row_tokens = row_tokens_[expert]});
  }

  Activation activation_;
  int64_t experts_;
  const BlockWeights& weights_;
  LinearHook* hook_;
  std::vector<at::Tensor> gate_, up_, down_;  // by expert
  at::Tensor hidden_, out_;                   // [tokens, hidden_size]
  at::Tensor tokens_;                         // int64 [pairs]
  at::Tensor shares_;                         // [pairs, 1]
  std::vector<int64_t> count_;                // pairs of each expert
  std::vector<std::vector<int64_t>> row_tokens_;
  int64_t first_pair_ = 0;  // of the experts that are next
};

at::Tensor shared_expert(const ModelConfig& config, const BlockWeights& weights,
                         const at::Tensor& hidden, LinearHook* hook) {
  const at::Tensor inner =
      activate(config.activation, product(hook, Role::SharedGateProj, hidden, weights)) *
      product(hook, Role::SharedUpProj, hidden, weights);
  const at::Tensor out = product(hook, Role::SharedDownProj, inner, weights);
  if (!weights[Role::SharedRouter].defined()) return out;
  return product(hook, Role::SharedRouter, hidden, weights).sigmoid() * out;
}

}  // namespace

at::Tensor mixture(const ModelConfig& config, int layer, const BlockWeights& weights,
                   const at::Tensor& hidden, LinearHook* hook) {
  const LayerShape& shape = config.layers[static_cast<size_t>(layer)];
  const Routing routing = route(config, shape, weights, hidden, hook);
  const bool apart = hook == nullptr || hook->experts() != LinearHook::Experts::Joined;
  const at::Tensor out = apart ? Dispatch(config, shape, weights, hook).run(hidden, routing)
                               : joined(config, shape, weights, hidden, routing, hook);
  if (!weights[Role::SharedUpProj].defined()) return out;
  return out + shared_expert(config, weights, hidden, hook);
}

std::vector<ExpertPart> experts_of(const ModelConfig& config, int layer, Role role,
                                   const at::Tensor& weight) {
  const auto count = static_cast<int>(config.layers[static_cast<size_t>(layer)].experts);
  const bool inner = role == Role::GateProj || role == Role::UpProj;
  if (!inner && role != Role::DownProj) return {};
  std::vector<ExpertPart> experts;
  for (int expert = 0; expert < count; ++expert) {
    experts.push_back({.expert = expert, .experts = count, .dim = inner ? 0 : 1, .joined = weight});
  }
  return experts;
}

}  // namespace prunus
