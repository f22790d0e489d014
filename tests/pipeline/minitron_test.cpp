// Minitron's scores against means and norms written out in FP64.
#include <cmath>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::minitron_test {
namespace {

// A model and what its products read of each sample alone.
struct Seen {
  explicit Seen(Model of) : model(std::move(of)) {
    batches = {{random_ids(model, 2, 7, 1)}, {random_ids(model, 1, 7, 2)}};
    for (const TokenBatch& batch : batches) {
      for (const at::Tensor& row : batch.ids.unbind(0)) {
        samples.emplace_back(model, std::vector<TokenBatch>{{row.unsqueeze(0)}});
      }
    }
  }
  Plan plan(Structure structure) const {
    return make_plan(model, batches, {.method = "minitron", .structure = structure, .ratio = 0.5})
        .plan;
  }

  Model model;
  std::vector<TokenBatch> batches;
  std::vector<RecordedInputs> samples;
};

// √(Σ_s (mean_t ‖x_tu‖₂)²) of units u of `width` channels, samples s and tokens t.
std::vector<double> activity(const Seen& seen, int layer, Role role, int64_t width,
                             int expert = -1) {
  std::vector<double> squares;
  for (const RecordedInputs& sample : seen.samples) {
    const at::Tensor x = sample.input(layer, role, expert);
    if (!x.defined() || x.size(0) == 0) continue;
    squares.resize(static_cast<size_t>(x.size(1) / width));
    for (int64_t first = 0; first < x.size(1); first += width) {
      double sum = 0;
      for (int64_t t = 0; t < x.size(0); ++t) {
        double square = 0;
        for (int64_t c = first; c < first + width; ++c) {
          square += x[t][c].item<double>() * x[t][c].item<double>();
        }
        sum += std::sqrt(square);
      }
      const double mean = sum / static_cast<double>(x.size(0));
      squares[static_cast<size_t>(first / width)] += mean * mean;
    }
  }
  for (double& one : squares) one = std::sqrt(one);
  return squares;
}

void add(std::vector<double>& sum, const std::vector<double>& more) {
  if (sum.empty()) sum.resize(more.size());
  for (size_t i = 0; i < more.size(); ++i) sum[i] += more[i];
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * want[i]) << i;
}

TEST(Minitron, ScoresHeadsAndChannelsByWhatTheyPutOut) {
  const Seen seen(tiny_model({.kv_heads = 2}));
  const Plan plan = seen.plan(Structure::Block);
  ASSERT_EQ(plan.entries.size(), 4u);
  for (const PlanEntry& entry : plan.entries) {
    const int layer = entry.keep.layer;
    if (entry.keep.label == AxisLabel::Ffn) {
      expect_near(entry.scores, activity(seen, layer, Role::DownProj, 1));
      continue;
    }
    // A KV group goes with two query heads of four channels.
    const std::vector<double> heads = activity(seen, layer, Role::OProj, 4);
    expect_near(entry.scores, {heads[0] + heads[1], heads[2] + heads[3]});
  }
}

TEST(Minitron, ScoresTheHiddenDimensionByEachNormOnce) {
  for (const char* name : {"llama_gqa", "mixtral", "gpt2"}) {
    const Seen seen(open_model(golden_dir(name)));
    std::vector<double> want;
    for (int layer = 0; layer < seen.model.layer_count(); ++layer) {
      const bool mixture = seen.model.config().layers[static_cast<size_t>(layer)].experts > 0;
      add(want, activity(seen, layer, Role::QProj, 1));
      add(want, activity(seen, layer, mixture ? Role::Router : Role::UpProj, 1));
    }
    const Plan plan = seen.plan(Structure::Channel);
    ASSERT_EQ(plan.entries.size(), 1u);
    expect_near(plan.entries[0].scores, want);
  }
}

TEST(Minitron, ScoresTheChannelsOfExpertsByTheirOwnTokens) {
  const Seen seen(open_model(golden_dir("mixtral")));
  int64_t sets = 0;
  for (const PlanEntry& entry : seen.plan(Structure::Block).entries) {
    if (entry.keep.label != AxisLabel::Ffn) continue;
    ++sets;
    const auto& shape = seen.model.config().layers[static_cast<size_t>(entry.keep.layer)];
    std::vector<double> want;
    for (int expert = 0; expert < shape.experts; ++expert) {
      std::vector<double> one = activity(seen, entry.keep.layer, Role::DownProj, 1, expert);
      one.resize(static_cast<size_t>(shape.intermediate_size));  // of none: zeros
      want.insert(want.end(), one.begin(), one.end());
    }
    expect_near(entry.scores, want);
  }
  EXPECT_EQ(sets, seen.model.layer_count());
}

TEST(Minitron, ScoresNoSingleWeights) {
  const Model model = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "cannot score what --structure weight removes", [&] {
    make_plan(model, {{random_ids(model, 1, 7)}},
              {.method = "minitron", .structure = Structure::Weight});
  });
}

}  // namespace
}  // namespace prunus::test::minitron_test
