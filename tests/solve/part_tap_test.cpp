// What a tap on one product of a part sees, against the part without it.
#include "prunus/solve/part_tap.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace prunus::test::part_tap_test {
namespace {

TEST(PartTap, GivesWhatEntersAndLeavesThePartsLastMatrix) {
  const Model model = tiny_model({.family = "qwen2", .head_dim = 8});
  const BlockWeights weights = model.load_block(0, at::kCPU);
  const Decoder decoder(model.config());
  at::manual_seed(3);
  const at::Tensor hidden = at::randn({2, 5, 16});
  for (const Part part : kParts) {
    const PartForward forward{decoder, 0, part};
    const at::Tensor plain = forward(weights, hidden);
    PartTap tap(roles_of(part).weight, true);
    EXPECT_LT(relative_error(forward(weights, hidden, &tap), plain), 1e-5);
    EXPECT_LT(relative_error(tap.output, plain), 1e-5);  // no norm stands behind it
    const at::Tensor again = at::matmul(tap.input, weights[roles_of(part).weight].t());
    EXPECT_LT(relative_error(again, plain), 1e-5);
  }
}

TEST(PartTap, LeavesTheProductOutWhereOnlyItsInputIsAskedFor) {
  const Model model = tiny_model({});
  const BlockWeights weights = model.load_block(0, at::kCPU);
  const Decoder decoder(model.config());
  at::manual_seed(3);
  const at::Tensor hidden = at::randn({2, 5, 16});
  for (const Part part : kParts) {
    const PartForward forward{decoder, 0, part};
    PartTap runs(roles_of(part).weight, true);
    PartTap only(roles_of(part).weight, false);
    forward(weights, hidden, &runs);
    const at::Tensor nothing = forward(weights, hidden, &only);
    EXPECT_TRUE(at::equal(only.input, runs.input));
    EXPECT_FALSE(only.output.defined());
    EXPECT_EQ(nothing.sizes(), hidden.sizes());
    EXPECT_EQ(nothing.abs().max().item<float>(), 0);
  }
}

// Gemma's norm behind the part is none of the product's.
TEST(PartTap, SeesTheProductInFrontOfANorm) {
  const Model model = tiny_model({.family = "gemma2", .head_dim = 8});
  const BlockWeights weights = model.load_block(0, at::kCPU);
  const Decoder decoder(model.config());
  const PartRoles roles = roles_of(Part::FeedForward);
  ASSERT_TRUE(weights[roles.post_norm].defined());
  at::manual_seed(3);
  PartTap tap(roles.weight, true);
  const at::Tensor output =
      PartForward{decoder, 0, Part::FeedForward}(weights, at::randn({2, 5, 16}), &tap);
  EXPECT_LT(relative_error(decoder.norm(tap.output, weights[roles.post_norm]), output), 1e-5);
}

}  // namespace
}  // namespace prunus::test::part_tap_test
