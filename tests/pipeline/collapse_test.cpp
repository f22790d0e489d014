// LaCo against its algorithm written out with models whose weights are added up one by one.
#include "prunus/pipeline/collapse.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/model/final_norm.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::collapse_test {
namespace {

at::Tensor states(const Model& model, const at::Tensor& ids) {
  const BlockStream stream(model, at::kCPU);
  std::vector<at::Tensor> hidden = stream.embed({{ids}});
  stream.forward(hidden);
  return FinalNorm(model, at::kCPU)(hidden[0]).to(at::kDouble);
}

// A model with the weights of `left` for its layers.
using Weights = std::map<Role, at::Tensor>;
using Left = std::vector<std::pair<int64_t, Weights>>;  // number of the layer, its tensors

Left whole(const Model& model) {
  Left left;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    left.push_back({layer, {}});
    for (const TensorInfo& tensor : model.tensors()) {
      if (tensor.layer != layer) continue;
      left.back().second[tensor.spec->role] = model.source().read(tensor).to(at::kDouble);
    }
  }
  return left;
}

Model built(const Model& model, const Left& left) {
  const Model shorter = shrink(model, {{AxisLabel::Layer, -1, [&] {
                                          std::vector<int64_t> kept;
                                          for (const auto& [layer, weights] : left)
                                            kept.push_back(layer);
                                          return kept;
                                        }()}});
  auto source = copy_weights(shorter);
  for (size_t i = 0; i < left.size(); ++i) {
    for (const auto& [role, value] : left[i].second) {
      source->tensors[shorter.tensor(role, static_cast<int>(i)).name] = value.to(at::kFloat);
    }
  }
  return Model(shorter.config(), source);
}

double similarity(const at::Tensor& a, const at::Tensor& b) {
  double sum = 0;
  for (int64_t row = 0; row < a.size(0); ++row) {
    const at::Tensor x = a[row].flatten();
    const at::Tensor y = b[row].flatten();
    sum += (x.dot(y) / (x.norm() * y.norm())).item<double>();
  }
  return sum / static_cast<double>(a.size(0));
}

Left by_paper(const Model& model, const at::Tensor& ids, double threshold, int64_t removed) {
  const at::Tensor wanted = states(model, ids);
  Left left = whole(model);
  for (int64_t at = model.layer_count() - 4; at >= 0 && removed > 0;) {
    const int64_t count =
        std::min({int64_t{3}, static_cast<int64_t>(left.size()) - at - 1, removed});
    Left fewer = left;
    for (auto& [role, value] : fewer[static_cast<size_t>(at)].second) {
      if (role == Role::AttnNorm || role == Role::MlpNorm) continue;
      const at::Tensor first = value;
      for (int64_t k = 1; k <= count; ++k) {
        value = value + left[static_cast<size_t>(at + k)].second.at(role) - first;
      }
    }
    fewer.erase(fewer.begin() + at + 1, fewer.begin() + at + 1 + count);
    if (count > 0 && similarity(states(built(model, fewer), ids), wanted) > threshold) {
      left = fewer;
      removed -= count;
      at -= 2;
    } else {
      --at;
    }
  }
  return left;
}

class Laco : public testing::Test {
 protected:
  const Model model_ = tiny_model({.kv_heads = 2, .layers = 9});
  const at::Tensor ids_ = random_ids(model_, 3, 8, 7);
  const std::vector<TokenBatch> text_ = {{ids_.narrow(0, 0, 2)}, {ids_.narrow(0, 2, 1)}};
};

TEST_F(Laco, CollapsesLayersAsThePaperSays) {
  for (const int64_t removed : {1, 4, 5}) {
    double low = -1;
    double high = 1;
    Left wanted = by_paper(model_, ids_, low, removed);
    for (int i = 0; i < 10; ++i) {
      const double middle = (low + high) / 2;
      const Left left = by_paper(model_, ids_, middle, removed);
      const bool all = static_cast<int64_t>(left.size()) == 9 - removed;
      if (all) wanted = left;
      (all ? low : high) = middle;
    }
    ASSERT_EQ(wanted.size(), static_cast<size_t>(9 - removed));
    const double ratio = (static_cast<double>(removed) - 0.01) / 9;
    const Plan plan = make_plan(model_, text_, {.method = "laco", .ratio = ratio}).plan;
    check_plan(plan, model_);
    const Model got = result_of(model_, plan_from_json(to_json(plan), "plan"), {});
    const Model brute = built(model_, wanted);
    ASSERT_EQ(got.layer_count(), brute.layer_count());
    for (const TensorInfo& tensor : got.tensors()) {
      const Role role = tensor.spec->role;
      EXPECT_LT(relative_error(got.source().read(tensor),
                               brute.source().read(brute.tensor(role, tensor.layer))),
                1e-5)
          << removed << " " << tensor.name;
    }
    EXPECT_FALSE(plan.sums.empty());
  }
}

TEST_F(Laco, RefusesWhatItCannotDo) {
  const auto refused = [&](const Model& model, const PruneOptions& options, ErrorKind kind,
                           const char* message) {
    expect_error(kind, message, [&] { make_plan(model, {{random_ids(model, 2, 6, 1)}}, options); });
  };
  refused(model_, {.method = "laco", .steps = 2}, ErrorKind::InvalidArgument, "no --steps");
  refused(model_, {.method = "laco", .structure = Structure::Part}, ErrorKind::InvalidArgument,
          "cannot score what --structure part removes");
  refused(open_model(golden_dir("mixtral")), {.method = "laco", .ratio = 0.5},
          ErrorKind::Unsupported, "a mixture of experts");
}

TEST_F(Laco, PlansAreReadAsTheyAreWritten) {
  const Plan plan = make_plan(model_, text_, {.method = "laco", .ratio = 0.5}).plan;
  Json json = to_json(plan);
  EXPECT_EQ(json.at("version"), 5);
  EXPECT_EQ(to_json(plan_from_json(json, "p")), json);
  json["sums"][0]["factors"] = Json::array({Json::array({1})});
  expect_error(ErrorKind::Corrupt, "expected [layer, whole number]",
               [&] { plan_from_json(json, "p"); });
  json["sums"] = Json::array();
  expect_error(ErrorKind::Corrupt, "no list of layers", [&] { plan_from_json(json, "p"); });
}

}  // namespace
}  // namespace prunus::test::collapse_test
