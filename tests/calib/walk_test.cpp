// The walk over layers: what a visitor is shown, and that the layers behind an edit read its
// output.
#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/model/decoder.h"
#include "prunus/model/overlay.h"

#include "support/tiny_model.h"

namespace prunus::test::walk_test {
namespace {

constexpr Role kProducts[] = {Role::QProj,    Role::KProj,  Role::VProj,   Role::OProj,
                              Role::GateProj, Role::UpProj, Role::DownProj};

// Halves every second row of each matrix it is shown, and keeps the inputs of the products.
class Halving : public LayerVisitor, public Collector {
 public:
  explicit Halving(Edits how) : how_(how) {}
  Edits edits(int) const override { return how_; }
  Collector* collector(int) override { return this; }
  void on_forward(const LinearSite& site, const at::Tensor& input, const at::Tensor&) override {
    inputs[{site.layer, site.role}].push_back(input.clone());
  }
  void visit(int layer, Stage stage, BlockWeights& weights) override {
    visits.emplace_back(layer, stage);
    if (how_ == Edits::None) return;
    for (const Role role : kProducts) {
      if (stage == Stage::Layer || stage_of(role) == stage) weights[role] = halved(weights[role]);
    }
  }
  static at::Tensor halved(const at::Tensor& weight) {
    at::Tensor changed = weight.clone();
    changed.slice(0, 0, std::nullopt, 2).mul_(0.5);
    return changed;
  }

  std::map<std::pair<int, Role>, std::vector<at::Tensor>> inputs;
  std::vector<std::pair<int, Stage>> visits;

 private:
  Edits how_;
};

class Walk : public testing::Test {
 protected:
  // A model that holds the halved weights of the first `layers` layers.
  Model edited(int layers) const {
    std::map<std::string, at::Tensor> tensors;
    for (int layer = 0; layer < layers; ++layer) {
      for (const Role role : kProducts) {
        const TensorInfo& tensor = model_.tensor(role, layer);
        tensors[tensor.name] = Halving::halved(model_.source().read(tensor));
      }
    }
    return Model(model_.config(),
                 std::make_shared<OverlaySource>(model_.shared_source(), std::move(tensors)));
  }
  std::vector<at::Tensor> walked(LayerVisitor& visitor) const {
    const BlockStream stream(model_, at::kCPU);
    std::vector<at::Tensor> hidden = stream.embed(batches_);
    stream.walk(hidden, {0, model_.layer_count()}, visitor);
    return hidden;
  }
  std::vector<at::Tensor> passed(const Model& model, Collector* collector = nullptr) const {
    const BlockStream stream(model, at::kCPU);
    std::vector<at::Tensor> hidden = stream.embed(batches_);
    stream.forward(hidden, collector);
    return hidden;
  }
  static void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::allclose(a[i], b[i], 1e-5, 1e-6)) << i;
  }

  const Model model_ = tiny_model({.kv_heads = 2, .layers = 3});
  const std::vector<TokenBatch> batches_ = {{random_ids(model_, 2, 6, 1)},
                                            {random_ids(model_, 1, 6, 2)}};
};

TEST_F(Walk, IsThePlainForwardPassWhereNothingIsEdited) {
  Halving visitor(LayerVisitor::Edits::None);
  expect_equal(walked(visitor), passed(model_));
  EXPECT_EQ(visitor.visits, (std::vector<std::pair<int, Stage>>{
                                {0, Stage::Layer}, {1, Stage::Layer}, {2, Stage::Layer}}));
}

// Each layer is seen with its own weights as they were, behind edited layers.
TEST_F(Walk, PropagatesWithTheEditedWeights) {
  Halving visitor(LayerVisitor::Edits::Layer);
  expect_equal(walked(visitor), passed(edited(3)));
  for (int layer = 0; layer < 3; ++layer) {
    Halving seen(LayerVisitor::Edits::None);
    passed(edited(layer), &seen);
    for (const Role role : kProducts) {
      expect_equal(visitor.inputs.at({layer, role}), seen.inputs.at({layer, role}));
    }
  }
}

// Each stage is seen behind the edited stages before it: with all weights edited, its input is that
// of the edited model.
TEST_F(Walk, ByStageSeesWhatTheEditedStagesBeforePutOut) {
  Halving visitor(LayerVisitor::Edits::ByStage);
  expect_equal(walked(visitor), passed(edited(3)));
  Halving seen(LayerVisitor::Edits::None);
  passed(edited(3), &seen);
  for (int layer = 0; layer < 3; ++layer) {
    for (const Role role : kProducts) {
      expect_equal(visitor.inputs.at({layer, role}), seen.inputs.at({layer, role}));
    }
  }
  EXPECT_EQ(visitor.visits.size(), 12U);
}

}  // namespace
}  // namespace prunus::test::walk_test
