// Dropping whole experts equals giving them router logits of −∞, in every mixture of
// tests/model/golden. All in FP64, so that no choice of experts hangs on rounding.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/graph/shrink.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/model/decoder.h"
#include "prunus/model/lm_head.h"

#include "graph/fixture.h"
#include "support/golden_models.h"
#include "support/paths.h"

namespace prunus::test::expert_property_test {
namespace {

using Masked = std::map<int, std::vector<int64_t>>;  // experts by layer

std::vector<std::string> mixtures() {
  std::vector<std::string> names;
  for (const std::string& name : golden_names()) {
    const ModelConfig config = parse_config(read_config(golden_dir(name)), name);
    if (config.family->mixture) names.push_back(name);
  }
  return names;
}

// down(silu(gate·x) ∘ up·x) of one token.
at::Tensor gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up,
                 const at::Tensor& down) {
  const at::Tensor inner = at::matmul(gate, x);
  return at::matmul(down, inner / (1 + (-inner).exp()) * at::matmul(up, x));
}

// What each expert's output is multiplied by: the softmax over all logits, of which the largest
// `chosen` count.
std::vector<double> shares_of(std::vector<double> logits, int64_t chosen, bool renormalised) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& logit : logits) sum += logit = std::exp(logit - largest);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> shares(logits.size(), 0);
  double of_chosen = 0;
  for (int64_t i = 0; i < chosen; ++i) of_chosen += logits[order[static_cast<size_t>(i)]];
  for (int64_t i = 0; i < chosen; ++i) {
    const size_t expert = order[static_cast<size_t>(i)];
    shares[expert] = logits[expert] / (renormalised ? of_chosen : sum);
  }
  return shares;
}

// The mixture of one token as its papers write it.
at::Tensor mixture_of(const ModelConfig& config, int layer, const BlockWeights& weights,
                      const at::Tensor& x, const std::vector<int64_t>& masked) {
  const LayerShape& shape = config.layers[static_cast<size_t>(layer)];
  std::vector<double> logits;
  for (int64_t e = 0; e < shape.experts; ++e) {
    const bool out = std::find(masked.begin(), masked.end(), e) != masked.end();
    logits.push_back(out ? -std::numeric_limits<double>::infinity()
                         : weights[Role::Router][e].dot(x).item<double>());
  }
  const auto shares = shares_of(logits, config.experts_per_token, config.renormalised_router);
  at::Tensor sum = at::zeros_like(x);
  for (int64_t e = 0; e < shape.experts; ++e) {
    const auto own = [&](Role role, int64_t dim) {
      return weights[role].narrow(dim, e * shape.intermediate_size, shape.intermediate_size);
    };
    sum += shares[static_cast<size_t>(e)] *
           gated(x, own(Role::GateProj, 0), own(Role::UpProj, 0), own(Role::DownProj, 1));
  }
  if (shape.shared_intermediate_size == 0) return sum;
  const double open = 1 / (1 + std::exp(-weights[Role::SharedRouter][0].dot(x).item<double>()));
  return sum + open * gated(x, weights[Role::SharedGateProj], weights[Role::SharedUpProj],
                            weights[Role::SharedDownProj]);
}

// What the mixture adds to every place of the residual stream.
at::Tensor masked_part(const ModelConfig& config, int layer, const BlockWeights& weights,
                       const at::Tensor& hidden, const std::vector<int64_t>& masked) {
  const at::Tensor rms = (hidden.square().mean(-1, true) + config.norm_eps).sqrt();
  const at::Tensor tokens = (hidden / rms * weights[Role::MlpNorm]).flatten(0, 1);
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    rows.push_back(mixture_of(config, layer, weights, tokens[i], masked));
  }
  return at::stack(rows).view(hidden.sizes());
}

at::Tensor masked_logits(const Model& model, const at::Tensor& ids, const Masked& masked) {
  const at::NoGradGuard no_grad;
  const Decoder decoder(model.config());
  at::Tensor hidden = embed(model, ids, at::kCPU);
  for (int layer = 0; layer < static_cast<int>(model.layer_count()); ++layer) {
    const BlockWeights weights = model.load_block(layer, at::kCPU);
    hidden = hidden + decoder.attention_part(layer, weights, hidden);
    const bool mixture = model.config().layers[static_cast<size_t>(layer)].experts > 0;
    const auto found = masked.find(layer);
    const auto out = found == masked.end() ? std::vector<int64_t>() : found->second;
    hidden = hidden + (mixture ? masked_part(model.config(), layer, weights, hidden, out)
                               : decoder.feed_forward_part(layer, weights, hidden));
  }
  return LmHead(model, at::kCPU).logits(hidden.flatten(0, 1)).view({ids.size(0), ids.size(1), -1});
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

class ExpertProperty : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { model_.set_precision(at::kDouble); }

  // All but `left` experts of every mixture, others in each.
  Masked all_but_some(int64_t left) const {
    Masked masked;
    for (const GroupSet& set : find_groups(model_)) {
      if (set.label != AxisLabel::Expert) continue;
      std::vector<int64_t>& experts = masked[set.layer];
      for (int64_t i = left; i < set.units; ++i) {
        experts.push_back((i + 1 + set.layer) % set.units);
      }
    }
    return masked;
  }

  Model without(const Masked& masked) const {
    std::vector<Keep> keeps;
    for (const auto& [layer, experts] : masked) {
      const int64_t all = model_.config().layers[static_cast<size_t>(layer)].experts;
      keeps.push_back({AxisLabel::Expert, layer, all_but(all, experts)});
    }
    return shrink(model_, keeps);
  }

  Model model_ = open_model(golden_dir(GetParam()));
  const at::Tensor ids_ = random_ids(model_, 2, 12);
};

TEST_P(ExpertProperty, NothingMaskedIsTheModelItself) {
  EXPECT_LT(max_difference(logits_of(model_, ids_), masked_logits(model_, ids_, {})), 1e-10);
}

TEST_P(ExpertProperty, DroppedExpertsEqualExpertsWithLogitsOfMinusInfinity) {
  const at::Tensor whole = logits_of(model_, ids_);
  for (const int64_t left : {3, 2}) {
    const Masked masked = all_but_some(left);
    const at::Tensor wanted = masked_logits(model_, ids_, masked);
    EXPECT_GT(max_difference(whole, wanted), 1e-2) << "tokens choose none of them";
    EXPECT_LT(max_difference(logits_of(without(masked), ids_), wanted), 1e-10) << left;
    for (const auto& one : masked) {  // in one layer alone
      EXPECT_LT(max_difference(logits_of(without({one}), ids_), masked_logits(model_, ids_, {one})),
                1e-10)
          << left << " in layer " << one.first;
    }
  }
}

// Two experts for each token, one left.
TEST_P(ExpertProperty, FewExpertsInOneLayerLeaveTheChoiceInOthers) {
  Masked masked = all_but_some(1);
  masked.erase(std::next(masked.begin()), masked.end());
  EXPECT_LT(max_difference(logits_of(without(masked), ids_), masked_logits(model_, ids_, masked)),
            1e-10);
}

TEST_P(ExpertProperty, NoTokenChoosesMoreExpertsThanAreLeft) {
  ASSERT_EQ(model_.config().experts_per_token, 2);
  const Masked masked = all_but_some(1);
  const at::Tensor wanted = masked_logits(model_, ids_, masked);
  const Model left = without(masked);
  EXPECT_EQ(left.config().experts_per_token, 1);
  EXPECT_LT(max_difference(logits_of(left, ids_), wanted), 1e-10);

  const TempDir written;
  write_model(left, golden_dir(GetParam()), written.path());
  EXPECT_EQ(read_config(written.path()).at("num_experts_per_tok"), 1);
  Model again = open_model(written.path());
  again.set_precision(at::kDouble);
  EXPECT_LT(max_difference(logits_of(again, ids_), wanted), 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Mixtures, ExpertProperty, testing::ValuesIn(mixtures()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::expert_property_test
