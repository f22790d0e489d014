// Targets of the walk of two, against parts run one by one.
#include "prunus/solve/two_streams.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"

#include "solve/sub_block_fixture.h"
#include "support/expect_error.h"
#include "support/sub_layers.h"

namespace prunus::test::two_streams_test {
namespace {

at::Tensor part_of(const Model& model, int layer, Part part, const at::Tensor& hidden) {
  const BlockWeights weights = model.load_block(layer, at::kCPU);
  return PartForward{Decoder(model.config()), layer, part}(weights, hidden);
}

// The pruned stream is given something else than asked for, so that the two differ.
TEST(TwoStreams, TargetsMakeUpForAShareOfTheDifference) {
  const Model dense = tiny_model({.layers = 3});
  const std::vector<int64_t> layers = one_to_one(dense);
  const std::vector<TokenBatch> rows{{random_ids(dense, 3, 7)}};
  for (const double beta : {0.0, 0.25, 1.0}) {
    TwoStreams streams(dense, dense, layers, rows, at::kCPU, beta);
    at::Tensor x = BlockStream(dense, at::kCPU).embed(rows)[0];
    at::Tensor pruned = x;
    for (int layer = 0; layer < 3; ++layer) {
      streams.enter(layer);
      for (const Part part : kParts) {
        const at::Tensor own = part_of(dense, layer, part, pruned);
        const at::Tensor output = part_of(dense, layer, part, x);
        const at::Tensor wanted = (1 - beta) * own + beta * (output + x - pruned);
        EXPECT_LT(relative_error(streams.target(part, 0), wanted), 1e-5);
        streams.advance(0, own * 0.5);
        pruned = pruned + own * 0.5;
        x = x + output;
        EXPECT_LT(relative_error(streams.hidden()[0], pruned), 1e-6);
      }
      streams.leave();
    }
  }
}

// A part that was dropped adds nothing; what comes behind it makes up for that.
TEST(TwoStreams, GoOnWhereAPartWasDropped) {
  const Model dense = tiny_model({.layers = 2});
  const Model pruned = without(dense, SubLayer::Attention, 0);
  const std::vector<int64_t> layers = one_to_one(dense);
  const std::vector<TokenBatch> rows{{random_ids(dense, 3, 7)}};
  TwoStreams streams(pruned, dense, layers, rows, at::kCPU, 1);
  const at::Tensor x = BlockStream(dense, at::kCPU).embed(rows)[0];
  streams.enter(0);
  const at::Tensor attention = part_of(dense, 0, Part::Attention, x);
  EXPECT_LT(relative_error(streams.target(Part::Attention, 0), attention), 1e-6);
  const at::Tensor middle = x + attention;
  const at::Tensor wanted = middle + part_of(dense, 0, Part::FeedForward, middle) - x;
  EXPECT_LT(relative_error(streams.target(Part::FeedForward, 0), wanted), 1e-5);
}

// The dense stream passes layers that the pruned model lacks.
TEST(TwoStreams, PassLayersThatWereDropped) {
  const Model dense = tiny_model({.layers = 3});
  const Model pruned = shrink(dense, {{AxisLabel::Layer, -1, {0, 2}}});
  const std::vector<int64_t> layers{0, 2};
  const std::vector<TokenBatch> rows{{random_ids(dense, 3, 7)}};
  TwoStreams streams(pruned, dense, layers, rows, at::kCPU, 1);
  at::Tensor x = BlockStream(dense, at::kCPU).embed(rows)[0];
  streams.enter(0);
  for (const Part part : kParts) streams.advance(0, streams.target(part, 0));
  streams.leave();
  const at::Tensor pruned_stream = streams.hidden()[0];
  for (int layer = 0; layer < 2; ++layer) {
    for (const Part part : kParts) x = x + part_of(dense, layer, part, x);
  }
  streams.enter(1);
  EXPECT_EQ(streams.dense_layer(), 2);
  const at::Tensor wanted = x + part_of(dense, 2, Part::Attention, x) - pruned_stream;
  EXPECT_LT(relative_error(streams.target(Part::Attention, 0), wanted), 1e-5);
}

TEST(TwoStreams, SayWhichModelsDoNotGoTogether) {
  const Model dense = tiny_model({});
  const std::vector<TokenBatch> rows{{random_ids(dense, 3, 7)}};
  expect_error(ErrorKind::InvalidArgument, "hidden_size is 32", [&] {
    check_two_streams(tiny_model({.hidden = 32}), dense, {0, 1}, rows, "solver");
  });
  expect_error(ErrorKind::InvalidArgument, "got dense places of 1 layers",
               [&] { check_two_streams(dense, dense, {0}, rows, "solver"); });
  expect_error(ErrorKind::InvalidArgument, "expected ascending numbers", [&] {
    check_two_streams(dense, dense, {1, 0}, rows, "solver");
  });
  expect_error(ErrorKind::InvalidArgument, "no rows of text", [&] {
    check_two_streams(dense, dense, {0, 1}, {}, "solver");
  });
}

}  // namespace
}  // namespace prunus::test::two_streams_test
