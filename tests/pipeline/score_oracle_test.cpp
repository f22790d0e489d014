// Scores against an independent float64 computation: the whole model at once, every weight with its
// full gradient by autograd, no streaming, its own forward pass.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/pipeline/method.h"
#include "prunus/pipeline/score.h"

#include "support/tiny_model.h"

namespace prunus::test {
namespace {

using Weights = std::map<std::string, at::Tensor>;

Weights leaves_of(const Model& model) {
  Weights leaves;
  const auto weights = copy_weights(model);
  for (const auto& [name, tensor] : weights->tensors) {
    leaves[name] = tensor.to(at::kDouble).requires_grad_(true);
  }
  return leaves;
}

at::Tensor norm(const at::Tensor& x, const at::Tensor& gain) {
  return gain * x / at::sqrt(at::mean(x * x, -1, true) + 1e-5);
}

at::Tensor turn(const at::Tensor& x) {  // [seq, d] rotated by position
  const int64_t half = x.size(1) / 2;
  at::Tensor out = at::empty_like(x);
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < x.size(0); ++t) {
    std::vector<at::Tensor> first;
    std::vector<at::Tensor> second;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(t) * std::pow(10000.0, -2.0 * i / (2.0 * half));
      first.push_back(x[t][i] * std::cos(angle) - x[t][half + i] * std::sin(angle));
      second.push_back(x[t][half + i] * std::cos(angle) + x[t][i] * std::sin(angle));
    }
    first.insert(first.end(), second.begin(), second.end());
    rows.push_back(at::stack(first));
  }
  return at::stack(rows);
}

at::Tensor biased(const Weights& w, const std::string& name, const at::Tensor& x) {
  at::Tensor y = at::matmul(x, w.at(name + ".weight").t());
  if (w.contains(name + ".bias")) y = y + w.at(name + ".bias");
  return y;
}

at::Tensor attention(const Weights& w, const std::string& p, const at::Tensor& x,
                     const TinySizes& sizes) {
  const at::Tensor q = biased(w, p + "q_proj", x);
  const at::Tensor k = biased(w, p + "k_proj", x);
  const at::Tensor v = biased(w, p + "v_proj", x);
  const at::Tensor causal = at::ones({x.size(0), x.size(0)}, at::kBool).tril();
  std::vector<at::Tensor> heads;
  for (int64_t h = 0; h < sizes.q_heads; ++h) {
    const int64_t kv = h / (sizes.q_heads / sizes.kv_heads);
    at::Tensor qh = q.narrow(1, h * sizes.head_dim, sizes.head_dim);
    at::Tensor kh = k.narrow(1, kv * sizes.head_dim, sizes.head_dim);
    if (w.contains(p + "q_norm.weight")) qh = norm(qh, w.at(p + "q_norm.weight"));
    if (w.contains(p + "k_norm.weight")) kh = norm(kh, w.at(p + "k_norm.weight"));
    const at::Tensor raw = at::matmul(turn(qh), turn(kh).t()) / std::sqrt(double(sizes.head_dim));
    const at::Tensor weights = at::softmax(raw.masked_fill(~causal, -INFINITY), 1);
    heads.push_back(at::matmul(weights, v.narrow(1, kv * sizes.head_dim, sizes.head_dim)));
  }
  return biased(w, p + "o_proj", at::cat(heads, 1));
}

// Mean next-token loss over all windows.
at::Tensor loss_of(const Weights& w, const at::Tensor& ids, const TinySizes& sizes) {
  std::vector<at::Tensor> losses;
  for (int64_t row = 0; row < ids.size(0); ++row) {
    at::Tensor x = at::index_select(w.at("model.embed_tokens.weight"), 0, ids[row]);
    for (int64_t layer = 0; layer < sizes.layers; ++layer) {
      const std::string p = "model.layers." + std::to_string(layer) + ".";
      x = x + attention(w, p + "self_attn.", norm(x, w.at(p + "input_layernorm.weight")), sizes);
      const at::Tensor y = norm(x, w.at(p + "post_attention_layernorm.weight"));
      const at::Tensor gate = biased(w, p + "mlp.gate_proj", y);
      x = x + biased(w, p + "mlp.down_proj",
                     gate / (1 + at::exp(-gate)) * biased(w, p + "mlp.up_proj", y));
    }
    const auto& head = w.at(sizes.tied ? "model.embed_tokens.weight" : "lm_head.weight");
    const at::Tensor logits = at::matmul(norm(x, w.at("model.norm.weight")), head.t());
    const int64_t last = ids.size(1) - 1;
    losses.push_back(-at::log_softmax(logits.narrow(0, 0, last), 1)
                          .gather(1, ids[row].narrow(0, 1, last).unsqueeze(1)));
  }
  return at::cat(losses).mean();
}

at::Tensor slice_scores(const std::string& criterion, const at::Tensor& w, int64_t dim) {
  const at::Tensor value = w.detach();
  if (criterion == "l1") return value.abs().sum(1 - dim);
  if (criterion == "l2") return (value * value).sum(1 - dim);
  const at::Tensor product = value * w.grad();
  if (criterion == "taylor_param_first") return product.abs().sum(1 - dim);
  return product.sum(1 - dim).abs();
}

// Unit u of a set: for every matrix, its slices of the cut dimension, in plain loops.
std::vector<double> oracle(const Weights& w, const GroupSet& set, const std::string& criterion) {
  std::vector<double> totals(static_cast<size_t>(set.units), 0.0);
  for (const GroupMember& member : set.members) {
    const at::Tensor& weight = w.at(member.tensor.name);
    if (weight.dim() != 2) continue;
    const at::Tensor scores = slice_scores(criterion, weight, member.dim);
    const int64_t width = weight.size(member.dim) / set.units;
    for (int64_t i = 0; i < scores.size(0); ++i) {
      totals[static_cast<size_t>(i / width)] += scores[i].item<double>();
    }
  }
  return totals;
}

class ScoreOracle : public testing::TestWithParam<TinySizes> {};

TEST_P(ScoreOracle, EqualsFullFloat64Gradients) {
  const TinySizes& sizes = GetParam();
  const Model model = tiny_model(sizes);
  const at::Tensor ids = random_ids(model, 5, 12);
  Weights leaves = leaves_of(model);
  const at::Tensor loss = loss_of(leaves, ids, sizes);
  loss.backward();
  std::vector<GroupSet> sets;
  for (GroupSet& set : find_groups(model)) {
    if (set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup) sets.push_back(set);
  }
  std::map<std::string, double> worst;
  for (const char* name : {"l1", "l2", "taylor_param_first", "taylor_vectorize"}) {
    const auto all = criteria::all();
    const Criterion& criterion = **std::find_if(
        all.begin(), all.end(), [&](const Criterion* one) { return one->name == name; });
    // Two batches: sums over batches must be taken before |·|.
    const std::vector<TokenBatch> batches{{ids.narrow(0, 0, 2)}, {ids.narrow(0, 2, 3)}};
    const Scores scores =
        score_groups(model, sets, criterion, batches, {0, model.layer_count()}, {});
    if (criterion.needs != Needs::Weights) {
      EXPECT_NEAR(scores.loss, loss.item<double>(), 1e-6 * loss.item<double>());
    }
    for (const ScoredSet& scored : scores.sets) {
      const std::vector<double> expected = oracle(leaves, scored.set, name);
      const double largest = *std::max_element(expected.begin(), expected.end());
      for (size_t u = 0; u < expected.size(); ++u) {
        // The signed sums of `vectorize` may cancel down to FP32's noise: there the error is
        // measured against the set's largest score, elsewhere against the score itself.
        const double scale = criterion.needs == Needs::Saliency ? largest : expected[u];
        EXPECT_NEAR(scored.scores[u], expected[u], 1e-5 * scale)
            << name << " " << scored.set.name() << " unit " << u;
        worst[name] = std::max(worst[name], std::abs(scored.scores[u] - expected[u]) / scale);
      }
    }
  }
  for (const auto& [name, error] : worst) {
    std::printf("worst relative error of %s: %.1e\n", name.c_str(), error);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ScoreOracle,
    testing::Values(TinySizes{}, TinySizes{.kv_heads = 2}, TinySizes{.kv_heads = 1, .tied = true},
                    TinySizes{.family = "qwen2", .kv_heads = 2},
                    TinySizes{.family = "qwen3", .kv_heads = 2},
                    TinySizes{.family = "mistral", .hidden = 12, .q_heads = 6, .kv_heads = 3}),
    [](const auto& one) {
      return one.param.family + "_" + std::to_string(one.param.q_heads) + "q" +
             std::to_string(one.param.kv_heads) + "kv" + (one.param.tied ? "_tied" : "");
    });

}  // namespace
}  // namespace prunus::test
