#include "prunus/model/mask.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::mask_test {
namespace {

at::Tensor random_mask(int64_t rows, int64_t columns, uint64_t seed) {
  at::manual_seed(seed);
  return at::rand({rows, columns}) < 0.4;
}

TEST(Mask, PacksEightOfARowInAByte) {
  const at::Tensor kept = at::tensor({1, 0, 0, 0, 0, 0, 1, 0, 0, 1}, at::kByte).view({1, 10}) != 0;
  const at::Tensor packed = pack_mask(kept);
  ASSERT_EQ(packed.sizes(), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(packed[0][0].item<int>(), 1 + 64);
  EXPECT_EQ(packed[0][1].item<int>(), 2);
}

TEST(Mask, UnpacksWhatItPacked) {
  for (const int64_t columns : {1, 7, 8, 9, 33}) {
    const at::Tensor kept = random_mask(5, columns, 2);
    EXPECT_TRUE(at::equal(unpack_mask(pack_mask(kept), columns), kept)) << columns;
  }
  const at::Tensor packed = pack_mask(random_mask(2, 16, 1));
  expect_error(ErrorKind::Corrupt, "3 bytes a row", [&] { unpack_mask(packed, 17); });
  expect_error(ErrorKind::Corrupt, "bytes a row", [&] { unpack_mask(packed.to(at::kFloat), 16); });
}

class MaskedSourceTest : public ::testing::Test {
 protected:
  MaskedSourceTest() : model_(tiny_model({})), files_(mask_files(model_, folder_.path())) {}

  const TensorInfo& up() const { return model_.tensor(Role::UpProj, 1); }

  TempDir folder_;
  Model model_;
  LayerFiles files_;
};

TEST_F(MaskedSourceTest, SetsToZeroWhatTheMaskLeavesOut) {
  const at::Tensor kept = random_mask(up().shape[0], up().shape[1], 5);
  files_.keep(1, {{&up(), pack_mask(kept)}});
  const Model result = masked(model_, folder_.path());
  const at::Tensor weight = model_.source().read(up());
  const at::Tensor want = at::where(kept, weight, at::zeros_like(weight));
  EXPECT_TRUE(at::equal(result.source().read(up()), want));
  EXPECT_TRUE(at::equal(result.source().read_rows(up(), 2, 3), want.narrow(0, 2, 3)));
  const at::Tensor rows = at::tensor({3, 0}, at::kLong);
  EXPECT_TRUE(at::equal(result.source().select_rows(up(), rows), want.index_select(0, rows)));
  for (const TensorInfo& other : model_.tensors()) {
    if (other.name == up().name) continue;
    EXPECT_TRUE(at::equal(result.source().read(other), model_.source().read(other))) << other.name;
  }
}

TEST_F(MaskedSourceTest, RefusesAMaskOfAnotherShape) {
  files_.keep(1, {{&up(), pack_mask(random_mask(up().shape[0] - 1, up().shape[1], 5))}});
  const Model result = masked(model_, folder_.path());
  expect_error(ErrorKind::Corrupt, up().name, [&] { result.source().read(up()); });
}

TEST_F(MaskedSourceTest, HashesNamesAndContents) {
  const at::Tensor kept = random_mask(up().shape[0], up().shape[1], 5);
  files_.keep(1, {{&up(), pack_mask(kept)}});
  const std::string first = sha256_of_masks(model_, files_);
  const TempDir elsewhere;
  const LayerFiles same = mask_files(model_, elsewhere.path());
  same.keep(1, {{&up(), pack_mask(kept)}});
  EXPECT_EQ(sha256_of_masks(model_, same), first);
  at::Tensor other = kept.clone();
  other[0][0] = !other[0][0].item<bool>();
  same.keep(1, {{&up(), pack_mask(other)}});
  EXPECT_NE(sha256_of_masks(model_, same), first);
  same.keep(1, {{&model_.tensor(Role::GateProj, 1), pack_mask(kept)}});
  EXPECT_NE(sha256_of_masks(model_, same), first);
}

}  // namespace
}  // namespace prunus::test::mask_test
