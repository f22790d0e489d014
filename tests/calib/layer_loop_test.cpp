#include "prunus/calib/layer_loop.h"

#include <ATen/ATen.h>

#include <gmock/gmock.h>

#include "support/tiny_model.h"

namespace prunus::test {
namespace {

using testing::ElementsAre;

// Writes down what is asked of it, a layer once in a row: "p1" read ahead, "r0" read, "f0" given
// back.
class WrittenDown : public WeightSource {
 public:
  explicit WrittenDown(std::shared_ptr<const WeightSource> inner) : inner_(std::move(inner)) {}
  mutable std::vector<std::string> calls;

  at::Tensor read(const TensorInfo& tensor) const override {
    note("r", tensor);
    return inner_->read(tensor);
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override { return inner_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { note("p", tensor); }
  void release(const TensorInfo& tensor) const override { note("f", tensor); }

 private:
  void note(const char* what, const TensorInfo& tensor) const {
    const std::string call = what + std::to_string(tensor.layer);
    if (calls.empty() || calls.back() != call) calls.push_back(call);
  }
  std::shared_ptr<const WeightSource> inner_;
};

class ForEachLayer : public testing::Test {
 protected:
  std::vector<std::string> calls(LayerRange range, LayerOrder order) {
    source_->calls.clear();
    for_each_layer(model_, at::kCPU, range, order, [&](int layer, const BlockWeights& weights) {
      source_->calls.push_back("act " + std::to_string(layer));
      const at::Tensor expected = model_.load(model_.tensor(Role::QProj, layer), at::kCPU);
      EXPECT_TRUE(at::equal(weights[Role::QProj], expected));
      while (source_->calls.back()[0] != 'a') source_->calls.pop_back();
    });
    return source_->calls;
  }

  const Model plain_ = tiny_model({.layers = 4});
  const std::shared_ptr<WrittenDown> source_ =
      std::make_shared<WrittenDown>(plain_.shared_source());
  const Model model_{plain_.config(), source_};
};

// Weights that share the source's memory are given back behind the layer.
MATCHER_P(ActsIn, order, "") {
  std::vector<std::string> acts;
  for (const std::string& call : arg) {
    if (call[0] == 'a') acts.push_back(call.substr(4));
  }
  return acts == std::vector<std::string>(order);
}

TEST_F(ForEachLayer, ReadsAheadLoadsShowsAndGivesBack) {
  const auto got = calls({1, 3}, LayerOrder::FirstToLast);
  EXPECT_THAT(got, ActsIn(std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(got.front(), "p2");  // while layer 1 is loaded
  EXPECT_EQ(got.back(), "f2");
  // Nothing beyond the range is touched.
  EXPECT_THAT(got, testing::Not(testing::Contains(testing::AnyOf("p3", "r3", "r0", "p0"))));
}

TEST_F(ForEachLayer, GoesBackwards) {
  const auto got = calls({0, 3}, LayerOrder::LastToFirst);
  EXPECT_THAT(got, ActsIn(std::vector<std::string>{"2", "1", "0"}));
  EXPECT_EQ(got.front(), "p1");
  EXPECT_EQ(got.back(), "f0");
}

TEST_F(ForEachLayer, DoesNothingForAnEmptyRange) {
  EXPECT_THAT(calls({2, 2}, LayerOrder::FirstToLast), ElementsAre());
}

}  // namespace
}  // namespace prunus::test
