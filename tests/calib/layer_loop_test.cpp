#include "prunus/calib/layer_loop.h"

#include <ATen/ATen.h>

#include <gmock/gmock.h>

#include "support/tiny_model.h"
#include "support/written_down.h"

namespace prunus::test::layer_loop_test {
namespace {

using testing::ElementsAre;

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

// The next walk's first layer is written where the last one's was.
TEST(LayerCursor, KeepsItsMemoryFromWalkToWalk) {
  const Model plain = tiny_model({.layers = 2});
  Model model = plain;
  model.set_precision(at::kDouble);  // so that nothing is the source's own memory
  LayerCursor cursor(model, at::kCPU);
  std::vector<const void*> places;
  for (int walk = 0; walk < 2; ++walk) {
    for_each_layer(cursor, {0, 2}, LayerOrder::FirstToLast, [&](int, const BlockWeights& weights) {
      places.push_back(weights[Role::QProj].const_data_ptr());
    });
  }
  EXPECT_EQ(places, std::vector<const void*>(4, places[0]));
}

TEST_F(ForEachLayer, DoesNothingForAnEmptyRange) {
  EXPECT_THAT(calls({2, 2}, LayerOrder::FirstToLast), ElementsAre());
}

}  // namespace
}  // namespace prunus::test::layer_loop_test
