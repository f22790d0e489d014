// Golden logits made by stock transformers (tools/make_forward_goldens.py and
// tools/make_family_goldens.py): every directory below golden/ is a case.
#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/json.h"
#include "prunus/io/safetensors.h"
#include "prunus/model/resident_model.h"

#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::forward_golden_test {
namespace {

const std::string kGoldens = source_path("tests/model/golden/");

struct Golden {
  explicit Golden(const std::string& name)
      : model(open_model(kGoldens + name)),
        file(SafetensorsFile::open(kGoldens + name + "/golden.safetensors")) {
    const Json golden = read_json(kGoldens + name + "/golden.json");
    const auto rows = golden.at("input_ids").get<std::vector<std::vector<int64_t>>>();
    std::vector<at::Tensor> stacked;
    for (const auto& row : rows) stacked.push_back(at::tensor(row, at::kLong));
    ids = at::stack(stacked);
    logits = file->view(*file->find("logits"));
  }
  Model model;
  std::shared_ptr<SafetensorsFile> file;
  at::Tensor ids;
  at::Tensor logits;
};

class ForwardGolden : public testing::TestWithParam<std::string> {};

TEST_P(ForwardGolden, LogitsEqualTransformers) {
  const Golden golden(GetParam());
  EXPECT_LT(relative_error(logits_of(golden.model, golden.ids), golden.logits), 1e-5);
}

// Token by token with cached keys and values, from a prompt of one token and of several. Rotary
// scaling that depends on the length turns cached keys and new ones differently, as it does in
// transformers, so it is compared only within its original context.
TEST_P(ForwardGolden, CachedDecodingEqualsOnePass) {
  const at::NoGradGuard no_grad;
  const Golden golden(GetParam());
  const Rope& rope = golden.model.config().rope;
  int64_t seq = golden.ids.size(1);
  if (rope.by_length()) seq = std::min(seq, rope.original_max_position_embeddings);
  const at::Tensor ids = golden.ids.narrow(1, 0, seq);
  const at::Tensor wanted = logits_of(golden.model, ids);
  const ResidentModel resident(golden.model, at::kCPU);
  for (const int64_t prompt : {int64_t{1}, seq / 2}) {
    std::vector<LayerCache> cache(static_cast<size_t>(resident.layer_count()));
    at::Tensor got = resident.next_logits(ids.narrow(1, 0, prompt), 0, cache);
    EXPECT_LT(relative_error(got, wanted.select(1, prompt - 1)), 1e-5);
    for (int64_t at = prompt; at < seq; ++at) {
      got = resident.next_logits(ids.narrow(1, at, 1), at, cache);
      EXPECT_LT(relative_error(got, wanted.select(1, at)), 1e-5) << "place " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ForwardGolden, testing::ValuesIn(folders_in(kGoldens)),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::forward_golden_test
