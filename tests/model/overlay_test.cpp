#include "prunus/model/overlay.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::overlay_test {
namespace {

// The weights of another source in BF16.
class HalfSource : public WeightSource {
 public:
  explicit HalfSource(std::shared_ptr<const WeightSource> inner) : inner_(std::move(inner)) {}
  at::Tensor read(const TensorInfo& tensor) const override {
    return inner_->read(tensor).to(at::kBFloat16);
  }
  at::ScalarType dtype(const TensorInfo&) const override { return at::kBFloat16; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}

 private:
  std::shared_ptr<const WeightSource> inner_;
};

Model half_model() {
  const Model model = test::tiny_model({});
  return Model(model.config(), std::make_shared<HalfSource>(model.shared_source()));
}

TEST(LayerFiles, GiveBackWhatWasKeptInTheFilesDtype) {
  const test::TempDir dir;
  const Model model = half_model();
  const LayerFiles layers(model, dir.path());
  EXPECT_TRUE(layers.restore(1).empty());
  const TensorInfo& up = model.tensor(Role::UpProj, 1);
  const at::Tensor value = at::rand(up.shape).to(at::kBFloat16);
  layers.keep(1, {{&up, value}});
  const OverlaySource source(model.shared_source(), layers);
  EXPECT_TRUE(at::equal(source.read(up), value));
  EXPECT_EQ(source.read(up).scalar_type(), at::kBFloat16);
  for (const TensorInfo& other : model.tensors()) {
    if (other.name == up.name) continue;
    EXPECT_TRUE(at::equal(source.read(other), model.source().read(other))) << other.name;
  }
}

TEST(LayerFiles, RefuseTheFilesOfAnotherModel) {
  const test::TempDir dir;
  const Model model = half_model();
  const Model other = test::tiny_model({.layers = 1});
  LayerFiles(model, dir.path()).keep(1, {{&model.tensor(Role::UpProj, 1), at::rand({12, 16})}});
  test::expect_error(ErrorKind::Corrupt, "does not have",
                     [&] { LayerFiles(other, dir.path()).restore(1); });
}

TEST(OverlaySource, RoundsToTheFilesDtypeWhenRead) {
  const Model model = half_model();
  const TensorInfo& up = model.tensor(Role::UpProj, 0);
  const at::Tensor value = at::rand(up.shape);
  const OverlaySource source(model.shared_source(), {{up.name, value}});
  EXPECT_TRUE(at::equal(source.read(up), value.to(at::kBFloat16)));
  const TensorInfo& down = model.tensor(Role::DownProj, 0);
  EXPECT_TRUE(at::equal(source.read(down), model.source().read(down)));
}

// A bias that the source below does not have.
TEST(OverlaySource, AddsWhatTheSourceBelowLacks) {
  class Lacking : public HalfSource {
   public:
    using HalfSource::HalfSource;
    bool has(const TensorInfo& tensor) const override { return tensor.name != "added"; }
    at::ScalarType dtype(const TensorInfo& tensor) const override {
      EXPECT_NE(tensor.name, "added");
      return HalfSource::dtype(tensor);
    }
  };
  const Model model = test::tiny_model({});
  TensorInfo bias = model.tensor(Role::UpProj, 0);
  bias.name = "added";
  bias.shape = {3};
  const at::Tensor value = at::tensor({1.0F, 1.0F / 3, -2.0F});
  const OverlaySource source(std::make_shared<Lacking>(model.shared_source()), {{"added", value}});
  EXPECT_TRUE(source.has(bias));
  EXPECT_EQ(source.dtype(bias), at::kFloat);
  EXPECT_TRUE(at::equal(source.read(bias), value));
  source.prefetch(bias);
  source.release(bias);
}

}  // namespace
}  // namespace prunus::overlay_test
