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

at::Tensor leaf(const Model& model, Role role) {
  return model.source().read(model.tensor(role)).to(at::kDouble).clone().requires_grad_(true);
}

// A model without layers: loss of norm(E[ids]) against the head, all in float64.
struct Expected {
  explicit Expected(const Model& model, const std::vector<TokenBatch>& batches)
      : embedding(leaf(model, Role::EmbedTokens)), gain(leaf(model, Role::FinalNorm)) {
    head = model.config().tie_word_embeddings ? embedding : leaf(model, Role::LmHead);
    std::vector<at::Tensor> nll;
    for (const TokenBatch& batch : batches) {
      const at::Tensor x = at::embedding(embedding, batch.ids);
      const at::Tensor rms = (x.square().mean(-1, true) + model.config().norm_eps).sqrt();
      const at::Tensor logits = at::matmul(x / rms * gain, head.t());
      const int64_t last = batch.ids.size(1) - 1;
      nll.push_back(-at::log_softmax(logits.narrow(1, 0, last), 2)
                         .gather(2, batch.ids.narrow(1, 1, last).unsqueeze(2))
                         .flatten());
    }
    const at::Tensor mean = at::cat(nll).mean();
    loss = mean.item<double>();
    mean.backward();
  }
  at::Tensor embedding, gain, head;
  double loss = 0;
};

class VocabPassTest : public testing::TestWithParam<bool> {};

TEST_P(VocabPassTest, ShowsTheGradientsOfNormHeadAndEmbedding) {
  const bool tied = GetParam();
  const Model model = tiny_model({.tied = tied});
  const std::vector<TokenBatch> batches{{random_ids(model, 2, 7)}, {random_ids(model, 3, 7, 9)}};
  const Expected expected(model, batches);
  std::map<Role, std::vector<at::Tensor>> shown;
  GradientCollector collector(
      Needs{.statistics = {&stats::gradient}}, [](int, Role) { return true; },
      [&](const LinearSite& site, const WeightStats& stats) {
        shown[site.role].push_back(gradient_of(stats.of(stats::gradient)));
      });
  const at::NoGradGuard no_grad;
  const VocabPass pass(model, at::kCPU, batches);
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

INSTANTIATE_TEST_SUITE_P(Heads, VocabPassTest, testing::Bool(),
                         [](const auto& one) { return one.param ? "tied" : "untied"; });

}  // namespace
}  // namespace prunus::test::vocab_pass_test
