// Scores against an independent float64 computation: the whole model at once, every weight with its
// full gradient by autograd, no streaming, its own forward pass.
#include "prunus/pipeline/score.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/pipeline/method.h"

#include "support/tiny_model.h"

namespace prunus::test::score_test {
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
      // Frequencies are FP32 by definition of the model (as in transformers).
      const auto frequency = static_cast<float>(std::pow(10000.0, -2.0 * i / (2.0 * half)));
      const double angle = static_cast<double>(t) * static_cast<double>(frequency);
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

// Mean next-token loss over all windows, or the mean entropy of what is predicted.
at::Tensor loss_of(const Weights& w, const at::Tensor& ids, const TinySizes& sizes, bool entropy) {
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
    const at::Tensor log_p = at::log_softmax(logits.narrow(0, 0, last), 1);
    losses.push_back(entropy ? -(log_p.exp() * log_p).sum(1, true)
                             : -log_p.gather(1, ids[row].narrow(0, 1, last).unsqueeze(1)));
  }
  return at::cat(losses).mean();
}

// What the oracle knows of a weight: value, gradient of the mean loss, mean squared gradient of the
// samples' own losses.
struct Known {
  at::Tensor value, gradient, squares;
};

std::map<std::string, Known> known_of(const Model& model, const at::Tensor& ids,
                                      const TinySizes& sizes, double& loss, bool entropy = false) {
  std::map<std::string, Known> known;
  const int64_t samples = ids.size(0);
  for (int64_t j = -1; j < samples; ++j) {  // −1: all samples together
    Weights leaves = leaves_of(model);
    const at::Tensor one = loss_of(leaves, j < 0 ? ids : ids.narrow(0, j, 1), sizes, entropy);
    one.backward();
    if (j < 0) loss = one.item<double>();
    for (const auto& [name, leaf] : leaves) {
      at::Tensor grad = leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
      grad = grad.detach();
      Known& entry = known[name];
      if (j < 0) {
        entry = {leaf.detach(), grad, at::zeros_like(grad)};
      } else {
        entry.squares += grad * grad / static_cast<double>(samples);
      }
    }
  }
  return known;
}

// The bias of a projection is one more column of it where rows are cut.
Known with_bias(const std::map<std::string, Known>& known, const std::string& name, int64_t dim) {
  Known one = known.at(name);
  const auto bias = known.find(name.substr(0, name.rfind('.')) + ".bias");
  if (dim != 0 || bias == known.end()) return one;
  const Known& b = bias->second;
  return {at::cat({one.value, b.value.unsqueeze(1)}, 1),
          at::cat({one.gradient, b.gradient.unsqueeze(1)}, 1),
          at::cat({one.squares, b.squares.unsqueeze(1)}, 1)};
}

// Sum over the slices' elements, by definition; dim: the one that is cut.
at::Tensor slice_scores(const std::string& criterion, Known one, int64_t dim) {
  if (one.value.dim() == 1) {
    one = {one.value.unsqueeze(1), one.gradient.unsqueeze(1), one.squares.unsqueeze(1)};
  }
  const at::Tensor& w = one.value;
  if (criterion == "l1") return w.abs().sum(1 - dim);
  if (criterion == "l2") return (w * w).sum(1 - dim);
  const at::Tensor first = w * one.gradient;
  const at::Tensor second = w * one.squares * w;
  if (criterion == "taylor_param_first") return first.abs().sum(1 - dim);
  if (criterion == "taylor_param_second") return second.abs().sum(1 - dim);
  if (criterion == "taylor_param_mix") return (first - 0.5 * second).abs().sum(1 - dim);
  return first.sum(1 - dim).abs();
}

// The position inside a unit, and the unit, of every slice, from first principles: heads of d
// channels, query head h reads KV head h / times.
std::pair<int64_t, int64_t> place_of(const GroupSet& set, const std::string& name, int64_t slice,
                                     const TinySizes& sizes) {
  if (set.label != AxisLabel::KvGroup) return {slice, 0};
  const int64_t head = slice / sizes.head_dim;
  const bool query =
      name.find("q_proj") != std::string::npos || name.find("o_proj") != std::string::npos;
  return {query ? head / (sizes.q_heads / sizes.kv_heads) : head, slice % sizes.head_dim};
}

bool is_scored(const GroupMember& member) {
  const std::string& name = member.tensor.name;
  const bool norm = name.find("layernorm") != std::string::npos || name == "model.norm.weight";
  return member.tensor.shape.size() == 2 || norm;
}

double reduced(std::vector<double> values, const std::string& reduction) {
  double total = reduction == "prod" ? 1 : 0;
  for (const double value : values) {
    if (reduction == "sum") total += value;
    if (reduction == "mean") total += value / static_cast<double>(values.size());
    if (reduction == "max") total = std::max(total, value);
    if (reduction == "prod") total *= value;
  }
  if (reduction == "first") total = values.front();
  if (reduction == "second") total = values.at(1);
  if (reduction == "last") total = values.back();
  return total;
}

// Scores of a set's units in plain loops; prod as its logarithm.
std::vector<double> oracle(const std::map<std::string, Known>& known, const GroupSet& set,
                           const std::string& criterion, const std::string& reduction,
                           const TinySizes& sizes) {
  const int64_t width = set.label == AxisLabel::KvGroup ? sizes.head_dim : 1;
  std::vector<std::vector<double>> places(static_cast<size_t>(set.units * width));
  for (const GroupMember& member : set.members) {
    if (!is_scored(member)) continue;
    const at::Tensor scores =
        slice_scores(criterion,
                     criterion[0] == 'l' ? known.at(member.tensor.name)
                                         : with_bias(known, member.tensor.name, member.dim),
                     member.dim)
            .contiguous();
    std::vector<double> folded(places.size(), 0.0);
    const double* score = scores.const_data_ptr<double>();
    for (int64_t i = 0; i < scores.size(0); ++i) {
      const auto [unit, offset] = place_of(set, member.tensor.name, i, sizes);
      folded[static_cast<size_t>(unit * width + offset)] += score[i];
    }
    for (size_t i = 0; i < places.size(); ++i) places[i].push_back(folded[i]);
  }
  std::vector<double> units(static_cast<size_t>(set.units), 0.0);
  for (size_t i = 0; i < places.size(); ++i) {
    units[i / static_cast<size_t>(width)] += reduced(places[i], reduction);
  }
  if (reduction == "prod") {
    for (double& unit : units) unit = std::log(unit);
  }
  return units;
}

const Criterion& criterion_named(const std::string& name) {
  const auto all = criteria::all();
  return **std::find_if(all.begin(), all.end(),
                        [&](const Criterion* one) { return one->name == name; });
}

constexpr const char* kCriteria[] = {"l1",
                                     "l2",
                                     "taylor_vectorize",
                                     "taylor_param_first",
                                     "taylor_param_second",
                                     "taylor_param_mix"};
constexpr const char* kReductions[] = {"sum", "mean", "max", "prod", "first", "second", "last"};

// A tiny model, its calibration ids, and everything the oracle knows, made once per kind.
struct Subject {
  explicit Subject(const TinySizes& given) : sizes(given), model(tiny_model(given)) {
    ids = random_ids(model, 5, 12);
    // Two batches: sums over batches must be taken before |·|.
    batches = {{ids.narrow(0, 0, 2)}, {ids.narrow(0, 2, 3)}};
    for (GroupSet& set : find_groups(model)) {
      const bool wanted = set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup ||
                          set.label == AxisLabel::Hidden;
      if (wanted) sets.push_back(set);
    }
    known = known_of(model, ids, sizes, loss);
  }
  TinySizes sizes;
  Model model;
  at::Tensor ids;
  std::vector<TokenBatch> batches;
  std::vector<GroupSet> sets;
  std::map<std::string, Known> known;
  double loss = 0;
};

std::string kind_name(const TinySizes& sizes) {
  return sizes.family + "_" + std::to_string(sizes.q_heads) + "q" + std::to_string(sizes.kv_heads) +
         "kv" + (sizes.tied ? "_tied" : "");
}

class ScoreOracle : public testing::TestWithParam<TinySizes> {
 protected:
  static Subject& subject() {
    static std::map<std::string, Subject> made;
    return made.try_emplace(kind_name(GetParam()), GetParam()).first->second;
  }

  // Calls use(set as scored, oracle's scores, text for messages) for every reduction and set.
  template <typename Use>
  void compare(const std::string& name, at::ScalarType precision, Use use) {
    Subject& one = subject();
    one.model.set_precision(precision);
    for (const char* reduction : kReductions) {
      const Scores scores =
          score_groups(one.model, one.sets, criterion_named(name), one.batches,
                       {0, one.model.layer_count()}, {.reduction = parse_reduction(reduction)});
      for (const ScoredSet& scored : scores.sets) {
        use(scored,
            ScoredSet{scored.set, oracle(one.known, scored.set, name, reduction, one.sizes)},
            name + " " + reduction + " " + scored.set.name(), std::string(reduction));
      }
    }
  }
};

// Every importance × reduction, block-wise and channel-wise, computed in FP64: the formulas, unit
// by unit relative to the unit's own score (of logarithms: the absolute error, which is the same).
TEST_P(ScoreOracle, EqualsFullFloat64GradientsInFloat64) {
  for (const char* name : kCriteria) {
    double worst = 0;
    compare(name, at::kDouble,
            [&](const ScoredSet& scored, const ScoredSet& expected, const std::string& what,
                const std::string&) {
              for (size_t u = 0; u < expected.scores.size(); ++u) {
                const double scale = scored.logarithmic ? 1.0 : std::abs(expected.scores[u]);
                const double error = std::abs(scored.scores[u] - expected.scores[u]) / scale;
                EXPECT_LE(error, 1e-5) << what << " unit " << u;
                worst = std::max(worst, error);
              }
              const int64_t half = scored.set.units / 2;
              EXPECT_EQ(scored.keep_best(half), expected.keep_best(half)) << what;
            });
    std::printf("worst relative error of %s in float64: %.1e\n", name, worst);
  }
}

// The same in FP32, as it runs by default. A signed sum over tokens may cancel down to FP32's
// noise: `vectorize`, the gain of a norm. So errors are measured against the set's largest score;
// products of cancelled sums are left to the test above.
TEST_P(ScoreOracle, EqualsFullFloat64GradientsInFloat32) {
  for (const char* name : kCriteria) {
    double worst = 0;
    compare(name, at::kFloat,
            [&](const ScoredSet& scored, const ScoredSet& expected, const std::string& what,
                const std::string& reduction) {
              if (reduction == "prod") return;
              const double largest =
                  *std::max_element(expected.scores.begin(), expected.scores.end());
              for (size_t u = 0; u < expected.scores.size(); ++u) {
                const double error = std::abs(scored.scores[u] - expected.scores[u]) / largest;
                EXPECT_LE(error, 1e-5) << what << " unit " << u;
                worst = std::max(worst, error);
              }
              const int64_t half = scored.set.units / 2;
              EXPECT_EQ(scored.keep_best(half), expected.keep_best(half)) << what;
            });
    std::printf("worst error of %s in float32, of the largest score: %.1e\n", name, worst);
  }
}

TEST_P(ScoreOracle, EqualsGradientsOfTheEntropyInFloat64) {
  Subject& one = subject();
  one.model.set_precision(at::kDouble);
  double entropy = 0;
  const auto known = known_of(one.model, one.ids, one.sizes, entropy, true);
  for (const char* name : {"taylor_param_first", "taylor_param_second", "taylor_vectorize"}) {
    const Scores scores =
        score_groups(one.model, one.sets, criterion_named(name), one.batches,
                     {0, one.model.layer_count()}, {.objective = Objective::Entropy});
    EXPECT_NEAR(scores.loss, entropy, 1e-6 * entropy);
    for (const ScoredSet& scored : scores.sets) {
      const ScoredSet expected{scored.set, oracle(known, scored.set, name, "sum", one.sizes)};
      for (size_t u = 0; u < expected.scores.size(); ++u) {
        EXPECT_NEAR(scored.scores[u], expected.scores[u], 1e-5 * std::abs(expected.scores[u]))
            << name << " " << scored.set.name() << " " << u;
      }
    }
  }
}

TEST_P(ScoreOracle, GivesTheMeanLoss) {
  Subject& one = subject();
  one.model.set_precision(at::kFloat);
  const Scores scores = score_groups(one.model, one.sets, criterion_named("taylor_param_first"),
                                     one.batches, {0, one.model.layer_count()}, {});
  EXPECT_NEAR(scores.loss, one.loss, 1e-6 * one.loss);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ScoreOracle,
    testing::Values(TinySizes{}, TinySizes{.kv_heads = 2}, TinySizes{.kv_heads = 1, .tied = true},
                    TinySizes{.family = "qwen2", .kv_heads = 2},
                    TinySizes{.family = "qwen3", .kv_heads = 2},
                    TinySizes{.family = "mistral", .hidden = 12, .q_heads = 6, .kv_heads = 3}),
    [](const auto& one) { return kind_name(one.param); });

}  // namespace
}  // namespace prunus::test::score_test
