// Scores of whole experts against a slow plain computation: float64, loops over tokens and experts,
// weights straight from the file, a forward pass and a router of its own.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/io/checkpoint.h"
#include "prunus/pipeline/prune.h"
#include "prunus/pipeline/score.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::expert_output_test {
namespace {

using testing::Each;
using testing::SizeIs;

using Row = std::vector<double>;
using Rows = std::vector<Row>;

// A tiny model of tests/model/golden: two layers, four query heads on two, two of four experts.
struct Kind {
  const char* golden;
  std::string mixture;         // in front of the names of a layer's mixture
  std::string gate, up, down;  // an expert's matrices
  bool renormalised;
  double eps, theta;

  std::string dir() const { return source_path("tests/model/golden/") + golden; }
};
constexpr size_t kHeads = 4;
constexpr size_t kKvHeads = 2;
constexpr size_t kChosen = 2;

const Kind kKinds[] = {
    {"mixtral", "block_sparse_moe.", "w1", "w3", "w2", true, 1e-5, 1e6},
    {"qwen2_moe", "mlp.", "gate_proj", "up_proj", "down_proj", false, 1e-6, 1e4},
    {"qwen2_moe_mixed", "mlp.", "gate_proj", "up_proj", "down_proj", false, 1e-6, 1e4},
    {"qwen3_moe", "mlp.", "gate_proj", "up_proj", "down_proj", true, 1e-6, 1e4},
};

double dot(const Row& a, const Row& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void add(Row& to, const Row& what, double times = 1) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += times * what[i];
}

Row softmax(Row x) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& one : x) sum += one = std::exp(one - most);
  for (double& one : x) one /= sum;
  return x;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

// The sum and the number of the outputs of one expert.
struct Tally {
  double sum = 0;
  int64_t tokens = 0;
  double mean() const { return tokens == 0 ? 0 : sum / static_cast<double>(tokens); }
};

class Plain {
 public:
  explicit Plain(const Kind& kind) : kind_(kind), file_(Checkpoint::open(kind.dir())) {}

  // Per layer and expert; a dense layer has none.
  std::vector<std::vector<Tally>> tallies(const at::Tensor& ids) {
    tallies_.assign(2, {});
    for (int64_t window = 0; window < ids.size(0); ++window) {
      Rows x;
      for (int64_t t = 0; t < ids.size(1); ++t) {
        x.push_back(
            matrix("model.embed_tokens")[static_cast<size_t>(ids[window][t].item<int64_t>())]);
      }
      for (size_t layer = 0; layer < 2; ++layer) run_layer(layer, x);
    }
    return tallies_;
  }

 private:
  bool has(const std::string& name) const { return file_.contains(name + ".weight"); }

  const Rows& matrix(const std::string& name) {
    Rows& rows = matrices_[name];
    if (!rows.empty()) return rows;
    at::Tensor values = file_.read(name.ends_with("bias") ? name : name + ".weight");
    values = (values.dim() == 1 ? values.unsqueeze(0) : values).to(at::kDouble).contiguous();
    const double* data = values.const_data_ptr<double>();
    for (int64_t i = 0; i < values.size(0); ++i, data += values.size(1)) {
      rows.emplace_back(data, data + values.size(1));
    }
    return rows;
  }

  Row product(const std::string& name, const Row& x) {
    Row y;
    for (const Row& row : matrix(name)) y.push_back(dot(row, x));
    if (file_.contains(name + ".bias")) add(y, matrix(name + ".bias")[0]);
    return y;
  }

  Row norm(const std::string& name, Row x) {
    const double scale = 1 / std::sqrt(dot(x, x) / static_cast<double>(x.size()) + kind_.eps);
    const Row& gain = matrix(name)[0];
    for (size_t i = 0; i < x.size(); ++i) x[i] *= gain[i] * scale;
    return x;
  }

  // One head's part of a projection, normalised where the model does that, and turned.
  Row head(const std::string& name, const Row& all, size_t number, size_t heads, size_t position) {
    const size_t size = all.size() / heads;
    Row x(all.begin() + static_cast<std::ptrdiff_t>(number * size),
          all.begin() + static_cast<std::ptrdiff_t>((number + 1) * size));
    if (has(name)) x = norm(name, x);
    Row turned(size);
    const size_t half = size / 2;
    for (size_t i = 0; i < half; ++i) {
      // Frequencies are FP32 by definition of the model (as in transformers).
      const double share = -2.0 * static_cast<double>(i) / static_cast<double>(size);
      const double angle = static_cast<double>(position) *
                           static_cast<double>(static_cast<float>(std::pow(kind_.theta, share)));
      turned[i] = x[i] * std::cos(angle) - x[half + i] * std::sin(angle);
      turned[half + i] = x[half + i] * std::cos(angle) + x[i] * std::sin(angle);
    }
    return turned;
  }

  Rows attention(const std::string& p, const Rows& x) {
    Rows q, k, v, out;
    for (const Row& one : x) {
      q.push_back(product(p + "q_proj", one));
      k.push_back(product(p + "k_proj", one));
      v.push_back(product(p + "v_proj", one));
    }
    const size_t size = v[0].size() / kKvHeads;
    for (size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (size_t h = 0; h < kHeads; ++h) {
        const size_t group = h / (kHeads / kKvHeads);
        const Row asks = head(p + "q_norm", q[t], h, kHeads, t);
        Row raw;
        for (size_t s = 0; s <= t; ++s) {
          raw.push_back(dot(asks, head(p + "k_norm", k[s], group, kKvHeads, s)) /
                        std::sqrt(static_cast<double>(size)));
        }
        const Row share = softmax(raw);
        for (size_t c = 0; c < size; ++c) {
          double sum = 0;
          for (size_t s = 0; s <= t; ++s) sum += share[s] * v[s][group * size + c];
          mixed.push_back(sum);
        }
      }
      out.push_back(product(p + "o_proj", mixed));
    }
    return out;
  }

  Row feed_forward(const std::string& gate, const std::string& up, const std::string& down,
                   const Row& x) {
    Row inner = product(up, x);
    const Row gates = product(gate, x);
    for (size_t i = 0; i < inner.size(); ++i) inner[i] *= silu(gates[i]);
    return product(down, inner);
  }

  Row mixture(size_t layer, const std::string& p, const Row& x) {
    const Row probability = softmax(product(p + "gate", x));
    std::vector<size_t> order(probability.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return probability[a] > probability[b]; });
    double all = 0;
    for (size_t i = 0; i < kChosen; ++i) all += probability[order[i]];
    tallies_[layer].resize(order.size());
    Row out(x.size(), 0.0);
    for (size_t i = 0; i < kChosen; ++i) {
      const std::string expert = p + "experts." + std::to_string(order[i]) + ".";
      const Row f = feed_forward(expert + kind_.gate, expert + kind_.up, expert + kind_.down, x);
      const double g = probability[order[i]] / (kind_.renormalised ? all : 1);
      tallies_[layer][order[i]].sum += g * std::sqrt(dot(f, f));
      ++tallies_[layer][order[i]].tokens;
      add(out, f, g);
    }
    if (!has(p + "shared_expert.up_proj")) return out;
    const std::string shared = p + "shared_expert.";
    const double open = 1 / (1 + std::exp(-product(p + "shared_expert_gate", x)[0]));
    add(out, feed_forward(shared + "gate_proj", shared + "up_proj", shared + "down_proj", x), open);
    return out;
  }

  void run_layer(size_t layer, Rows& x) {
    const std::string p = "model.layers." + std::to_string(layer) + ".";
    Rows normed;
    for (const Row& one : x) normed.push_back(norm(p + "input_layernorm", one));
    const Rows attended = attention(p + "self_attn.", normed);
    for (size_t t = 0; t < x.size(); ++t) {
      add(x[t], attended[t]);
      const Row y = norm(p + "post_attention_layernorm", x[t]);
      const bool dense = has(p + "mlp.up_proj");
      add(x[t], dense ? feed_forward(p + "mlp.gate_proj", p + "mlp.up_proj", p + "mlp.down_proj", y)
                      : mixture(layer, p + kind_.mixture, y));
    }
  }

  const Kind& kind_;
  Checkpoint file_;
  std::map<std::string, Rows> matrices_;
  std::vector<std::vector<Tally>> tallies_;
};

const Criterion& expert_output() { return criterion_of(find_method("reap"), {}); }

std::vector<GroupSet> sets_of(const Model& model, AxisLabel label) {
  std::vector<GroupSet> sets = find_groups(model);
  std::erase_if(sets, [&](const GroupSet& set) { return set.label != label; });
  return sets;
}

Scores scores_of(const Model& model, const std::vector<TokenBatch>& batches,
                 const Criterion& criterion = expert_output()) {
  return score_groups(model, sets_of(model, AxisLabel::Expert), criterion, batches,
                      {0, model.layer_count()}, {});
}

PruneOptions reap(double ratio) {
  return {.method = "reap", .structure = Structure::Expert, .ratio = ratio};
}

class ExpertScores : public testing::TestWithParam<Kind> {
 protected:
  Model model_ = open_model(GetParam().dir());
  const at::Tensor ids_ = random_ids(model_, 3, 10);
  const std::vector<TokenBatch> batches_ = {{ids_.narrow(0, 0, 2)}, {ids_.narrow(0, 2, 1)}};

  // The largest relative error of a score.
  double error_against(const std::vector<std::vector<Tally>>& plain, const Scores& scores) {
    double worst = 0;
    for (const ScoredSet& scored : scores.sets) {
      const auto& layer = plain.at(static_cast<size_t>(scored.set.layer));
      EXPECT_EQ(scored.scores.size(), layer.size()) << scored.set.name();
      for (size_t e = 0; e < layer.size(); ++e) {
        const double mean = layer[e].mean();
        EXPECT_NEAR(scored.scores[e], mean, 1e-5 * mean) << scored.set.name() << " expert " << e;
        if (mean > 0) worst = std::max(worst, std::abs(scored.scores[e] - mean) / mean);
      }
    }
    return worst;
  }
};

TEST_P(ExpertScores, EqualAFloat64LoopOverTokensAndExperts) {
  const auto plain = Plain(GetParam()).tallies(ids_);
  const double in_float32 = error_against(plain, scores_of(model_, batches_));
  model_.set_precision(at::kDouble);
  const double in_float64 = error_against(plain, scores_of(model_, batches_));
  std::printf("worst relative error: %.1e in float32, %.1e in float64\n", in_float32, in_float64);
}

TEST_P(ExpertScores, AreZeroForAnExpertThatNoTokenChose) {
  // One token over and over: most of the experts are never asked.
  const at::Tensor same = at::full({1, 4}, 7, at::kLong);
  const auto plain = Plain(GetParam()).tallies(same);
  const Scores scores = scores_of(model_, {{same}});
  error_against(plain, scores);
  int unasked = 0;
  for (const ScoredSet& scored : scores.sets) {
    const auto& layer = plain.at(static_cast<size_t>(scored.set.layer));
    for (size_t e = 0; e < layer.size(); ++e) {
      if (layer[e].tokens > 0) continue;
      ++unasked;
      EXPECT_EQ(scored.scores[e], 0);
    }
  }
  EXPECT_GT(unasked, 0);
}

TEST_P(ExpertScores, ComeWithTheLossThatABackwardPassGives) {
  const Criterion& taylor = criterion_of(find_method("llm-pruner"), "vectorize");
  const double loss = scores_of(model_, batches_, taylor).loss;
  EXPECT_NEAR(scores_of(model_, batches_).loss, loss, 1e-6 * loss);
}

TEST_P(ExpertScores, DecideWhichExpertsGo) {
  const PlanResult planned = make_plan(model_, batches_, reap(0.5));
  const auto plain = Plain(GetParam()).tallies(ids_);
  EXPECT_THAT(planned.plan.entries, SizeIs(sets_of(model_, AxisLabel::Expert).size()));
  for (const PlanEntry& entry : planned.plan.entries) {
    const auto& layer = plain.at(static_cast<size_t>(entry.keep.layer));
    std::vector<int64_t> order(layer.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return layer[static_cast<size_t>(a)].mean() > layer[static_cast<size_t>(b)].mean();
    });
    order.resize(2);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(entry.keep.units, order) << "layer " << entry.keep.layer;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ExpertScores, testing::ValuesIn(kKinds),
                         [](const auto& one) { return std::string(one.param.golden); });

std::vector<size_t> kept(const PlanResult& planned) {
  std::vector<size_t> counts;
  for (const PlanEntry& entry : planned.plan.entries) counts.push_back(entry.keep.units.size());
  return counts;
}

TEST(Reap, GoesInStepsThatScoreWhatIsLeftOnTextOfTheirOwn) {
  const Model model = open_model(kKinds[0].dir());
  const auto text = [&](int64_t step) {
    return std::vector<TokenBatch>{{random_ids(model, 2, 8, 5 + static_cast<uint64_t>(step))}};
  };
  PruneOptions options = reap(0.5);
  options.steps = 2;
  const PlanResult both = make_plan(model, {.calibration = text}, options);
  EXPECT_THAT(kept(both), Each(2u));
  const PlanResult first = make_plan(model, text(0), reap(0.25));
  const PlanResult second = make_plan(shrink(model, first.plan.keeps()), text(1), reap(0.3));
  for (size_t i = 0; i < both.plan.entries.size(); ++i) {
    std::vector<int64_t> units;
    for (const int64_t unit : second.plan.entries[i].keep.units) {
      units.push_back(first.plan.entries[i].keep.units[static_cast<size_t>(unit)]);
    }
    EXPECT_EQ(both.plan.entries[i].keep.units, units) << i;
  }
}

TEST(Reap, GoesOnAfterAFinishedStepToTheSamePlan) {
  const Model model = open_model(kKinds[1].dir());
  const TempDir scratch;
  std::vector<int64_t> scored;
  const auto text = [&](int64_t step) {
    scored.push_back(step);
    return std::vector<TokenBatch>{{random_ids(model, 2, 8, 5 + static_cast<uint64_t>(step))}};
  };
  const auto store = [&](int64_t step) {
    return std::make_unique<StreamStore>(
        StreamStore::Options{.dir = scratch / c10::str("step-", step), .resumable = true});
  };
  PruneOptions options = reap(0.5);
  options.steps = 2;
  std::optional<PlanResult> first;
  const auto stop_after_first = [&](int64_t step, const PlanResult& result) {
    if (step == 0) first = result;
    PRUNUS_CHECK(step > 0, Interrupted, "stopped");
  };
  expect_error(ErrorKind::Interrupted, "stopped", [&] {
    make_plan(model, {.calibration = text, .store = store, .finish = stop_after_first}, options);
  });
  const auto earlier = [&](int64_t step) { return step == 0 ? first : std::nullopt; };
  const PlanResult resumed =
      make_plan(model, {.calibration = text, .store = store, .finished = earlier}, options);
  EXPECT_EQ(scored, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(to_json(resumed.plan), to_json(make_plan(model, {.calibration = text}, options).plan));
}

TEST(Reap, MeetsATarget) {
  const Model model = open_model(kKinds[1].dir());
  int64_t freed = 0;
  for (const GroupSet& set : sets_of(model, AxisLabel::Expert)) freed += set.parameters_per_unit();
  PruneOptions options = reap(0.25);
  options.target_params = model.parameters() - 2 * freed;
  const std::vector<TokenBatch> batches = {{random_ids(model, 2, 8)}};
  EXPECT_THAT(kept(make_plan(model, batches, options)), Each(2u));
}

TEST(Reap, RefusesWhereThereAreNoExpertsOrNoText) {
  const Model dense = tiny_model({});
  const std::vector<TokenBatch> batches = {{random_ids(dense, 2, 8)}};
  EXPECT_TRUE(needs_calibration(resolve(reap(0.5), 2)));
  expect_error(ErrorKind::InvalidArgument, "--calib",
               [&] { make_plan(open_model(kKinds[0].dir()), PlanContext{}, reap(0.5)); });
  expect_error(ErrorKind::InvalidArgument, "has no experts",
               [&] { make_plan(dense, batches, reap(0.5)); });
  expect_error(ErrorKind::InvalidArgument, "scores whole experts, not layers.0.ffn", [&] {
    score_groups(dense, sets_of(dense, AxisLabel::Ffn), expert_output(), batches, {0, 2}, {});
  });
}

}  // namespace
}  // namespace prunus::test::expert_output_test
