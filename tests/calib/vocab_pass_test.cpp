// Both ends of the backward pass against autograd over the whole head and embedding at once.
#include "prunus/calib/vocab_pass.h"

#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/calib/gradient_collector.h"
#include "prunus/model/decoder.h"

#include "support/tiny_model.h"

namespace prunus::test::vocab_pass_test {
namespace {

constexpr uint64_t kSeed = 12;

at::Tensor leaf(const Model& model, Role role) {
  return model.source().read(model.tensor(role)).to(at::kDouble).clone().requires_grad_(true);
}

// A model without layers: the objective of norm(E[ids]) and the head, all in float64.
struct Expected {
  Expected(const Model& model, const std::vector<TokenBatch>& batches, Objective objective)
      : embedding(leaf(model, Role::EmbedTokens)), gain(leaf(model, Role::FinalNorm)) {
    head = model.config().tie_word_embeddings ? embedding : leaf(model, Role::LmHead);
    std::vector<at::Tensor> nll;
    for (const TokenBatch& batch : batches) {
      const at::Tensor x = at::embedding(embedding, batch.ids);
      const at::Tensor rms = (x.square().mean(-1, true) + model.config().norm_eps).sqrt();
      const at::Tensor logits = at::matmul(x / rms * gain, head.t());
      const int64_t last = batch.ids.size(1) - 1;
      const at::Tensor log_p = at::log_softmax(logits.narrow(1, 0, last), 2);
      at::Tensor targets = batch.ids.narrow(1, 1, last);
      if (objective == Objective::Entropy) {
        nll.push_back(-(log_p.exp() * log_p).sum(2).flatten());
        continue;
      }
      if (objective == Objective::Divergence) {
        const at::Tensor hidden = embed(model, batch.ids, at::kCPU).narrow(1, 0, last);
        targets =
            LmHead(model, at::kCPU).draw(hidden.flatten(0, 1), kSeed + nll.size()).view_as(targets);
      }
      nll.push_back(-log_p.gather(2, targets.unsqueeze(2)).flatten());
    }
    const at::Tensor mean = at::cat(nll).mean();
    loss = mean.item<double>();
    mean.backward();
  }
  at::Tensor embedding, gain, head;
  double loss = 0;
};

class VocabPassTest : public testing::TestWithParam<std::tuple<bool, Objective>> {};

TEST_P(VocabPassTest, ShowsTheGradientsOfNormHeadAndEmbedding) {
  const auto [tied, objective] = GetParam();
  const Model model = tiny_model({.tied = tied});
  const std::vector<TokenBatch> batches{{random_ids(model, 2, 7)}, {random_ids(model, 3, 7, 9)}};
  const Expected expected(model, batches, objective);
  std::map<Role, std::vector<at::Tensor>> shown;
  GradientCollector collector(
      Needs{.statistics = {&stats::gradient}}, [](int, Role) { return true; },
      [&](const LinearSite& site, const WeightStats& stats) {
        shown[site.role].push_back(gradient_of(stats.of(stats::gradient)));
      });
  const at::NoGradGuard no_grad;
  const VocabPass pass(model, at::kCPU, batches, objective, kSeed);
  std::vector<at::Tensor> hidden;
  for (const TokenBatch& batch : batches) hidden.push_back(embed(model, batch.ids, at::kCPU));
  const VocabPass::Result result = pass.head(hidden, collector);
  pass.embedding(result.grads, hidden, collector);

  EXPECT_NEAR(result.loss, expected.loss, 1e-6 * expected.loss);
  EXPECT_EQ(shown.contains(Role::LmHead), !tied);
  const at::Tensor gain = shown.at(Role::FinalNorm).at(0).flatten();
  EXPECT_LT(relative_error(gain, expected.gain.grad()), 1e-5);
  if (!tied) {
    const at::Tensor head = shown.at(Role::LmHead).at(0).to(at::kDouble);
    EXPECT_LT(relative_error(head, expected.head.grad()), 1e-5);
  }
  // Untied, only the rows of tokens that occur come, in ascending order.
  at::Tensor rows = expected.embedding.grad();
  if (!tied) {
    std::vector<at::Tensor> ids;
    for (const TokenBatch& batch : batches) ids.push_back(batch.ids.flatten());
    rows = rows.index_select(0, std::get<0>(at::_unique(at::cat(ids))));
  }
  const at::Tensor embedding = shown.at(Role::EmbedTokens).at(0).to(at::kDouble);
  ASSERT_EQ(embedding.sizes(), rows.sizes());
  EXPECT_LT(relative_error(embedding, rows), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Heads, VocabPassTest,
                         testing::Combine(testing::Bool(), testing::Values(Objective::CrossEntropy,
                                                                           Objective::Entropy,
                                                                           Objective::Divergence)),
                         [](const auto& one) {
                           return c10::str(std::get<0>(one.param) ? "tied_" : "untied_",
                                           objective_name(std::get<1>(one.param)));
                         });

}  // namespace
}  // namespace prunus::test::vocab_pass_test
