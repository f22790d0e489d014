// Requests as HellaSwag makes them, on real models: sharing against one by one.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/eval/request.h"
#include "prunus/text/tokenizer.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::request_real_test {
namespace {

class RealScores : public testing::TestWithParam<const char*> {};

// Four endings per context; with babyllama's characters most are longer than its 256 positions.
std::vector<ScoreRequest> hellaswag_requests(const std::string& path, const Tokenizer& tokenizer,
                                             int64_t items) {
  std::vector<ScoreRequest> requests;
  std::ifstream lines(path);
  std::string line;
  for (int64_t i = 0; i < items && std::getline(lines, line); ++i) {
    const Json item = parse_json(line, path);
    std::vector<int64_t> context = tokenizer.encode(item.at("ctx").get<std::string>());
    context.insert(context.begin(), 1);
    for (const Json& ending : item.at("endings")) {
      requests.push_back({context, tokenizer.encode(" " + ending.get<std::string>())});
    }
  }
  return requests;
}

double alone(const Model& model, const ScoreRequest& request) {
  std::vector<int64_t> ids = request.context;
  ids.insert(ids.end(), request.continuation.begin(), request.continuation.end());
  const auto most = static_cast<size_t>(model.config().max_position_embeddings) + 1;
  if (ids.size() > most) ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(most));
  const auto inputs = static_cast<int64_t>(ids.size()) - 1;
  const auto scored = std::min(inputs, static_cast<int64_t>(request.continuation.size()));
  const at::Tensor all = at::tensor(ids, at::kLong);
  const at::Tensor logits = logits_of(model, all.narrow(0, 0, inputs).unsqueeze(0))[0];
  const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), 1);
  return log_p.gather(1, all.narrow(0, 1, inputs).unsqueeze(1))
      .narrow(0, inputs - scored, scored)
      .sum()
      .item<double>();
}

TEST_P(RealScores, EqualEveryRequestAlone) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::string dir = shared + "/models/" + GetParam();
  const Model model = open_model(dir);
  const auto tokenizer = load_tokenizer(dir);
  const auto requests = hellaswag_requests(shared + "/tasks/hellaswag.jsonl", *tokenizer, 12);
  ASSERT_EQ(requests.size(), 48u);
  const std::vector<ScoreResult> results = score_requests(model, requests, at::kCPU);
  double worst = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    worst = std::max(worst, std::abs(results[i].log_likelihood / alone(model, requests[i]) - 1));
  }
  EXPECT_LT(worst, 1e-5);
  std::printf("%s: %zu requests, worst off by %.1e\n", GetParam(), requests.size(), worst);
}

INSTANTIATE_TEST_SUITE_P(Models, RealScores,
                         testing::Values("stories260K", "babyllama-105", "sapling-5m"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace prunus::test::request_real_test
