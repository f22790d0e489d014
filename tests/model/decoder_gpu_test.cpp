#include <cstdlib>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/model/head.h"
#include "prunus/pipeline/score.h"

#include "support/tiny_model.h"

#define PRUNUS_NEED_CUDA()                                                     \
  if (!at::hasCUDA()) {                                                        \
    if (std::getenv("PRUNUS_NEED_GPU") != nullptr) FAIL() << "no CUDA device"; \
    GTEST_SKIP() << "skipped: this libtorch sees no CUDA device";              \
  }

namespace prunus::test {
namespace {

TEST(DecoderOnCuda, GivesTheLogitsOfTheCpu) {
  PRUNUS_NEED_CUDA();
  const at::NoGradGuard no_grad;
  for (const char* family : {"llama", "qwen2", "qwen3", "mistral"}) {
    const Model model = tiny_model({.family = family, .kv_heads = 2});
    const at::Tensor ids = random_ids(model, 2, 9);
    const BlockStream stream(model, at::kCUDA);
    std::vector<at::Tensor> hidden = stream.embed({{ids}});
    stream.forward(hidden);
    const at::Tensor logits = Head(model, at::kCUDA).logits(hidden[0].flatten(0, 1)).cpu();
    EXPECT_LT(relative_error(logits, logits_of(model, ids).flatten(0, 1)), 1e-4) << family;
  }
}

TEST(ScoresOnCuda, EqualThoseOfTheCpu) {
  PRUNUS_NEED_CUDA();
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<TokenBatch> batches{{random_ids(model, 4, 12)}};
  for (const Criterion* criterion : criteria::all()) {
    const auto sets = find_groups(model);
    const std::vector<GroupSet> some{sets[2], sets[3]};
    const Scores cpu = score_groups(model, some, *criterion, batches, {0, 2}, {});
    const Scores gpu =
        score_groups(model, some, *criterion, batches, {0, 2}, {.device = at::Device(at::kCUDA)});
    for (size_t i = 0; i < some.size(); ++i) {
      for (size_t u = 0; u < cpu.sets[i].scores.size(); ++u) {
        EXPECT_NEAR(gpu.sets[i].scores[u], cpu.sets[i].scores[u],
                    1e-3 * cpu.sets[i].scores[u] + 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace prunus::test
