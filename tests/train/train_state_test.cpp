#include "prunus/train/train_state.h"

#include <filesystem>
#include <limits>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"
#include "train/trainer_fixture.h"

namespace prunus::train_state_test {
namespace {

using test::adapted;
using test::data_of;
using test::expect_error;
using test::Killed;
using test::options_for;
using test::TempDir;

TEST(TrainStateFolder, RefusesTheStateOfAnotherModel) {
  const TempDir dir;
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 8, 0);
  TrainModel trained = adapted(model);
  EXPECT_THROW(
      Trainer(trained, data, nullptr, options_for(8, dir.path())).run([](const Json& line) {
        if (line.at("step") == 4) throw Killed();
      }),
      Killed);
  const Model other = test::tiny_model({.hidden = 8});
  TrainModel wrong = adapted(other);
  Trainer trainer(wrong, data_of(other, 8, 0), nullptr, options_for(8, dir.path()));
  expect_error(ErrorKind::Corrupt, "has shape", [&] { trainer.run(); });
}

// Version 1 did not say whether the validation of its step had been made.
TEST(TrainStateFolder, RefusesAStateOfAnEarlierVersionAndLeavesItThere) {
  const TempDir dir;
  const Model model = test::tiny_model({});
  TrainModel trained = adapted(model);
  Optimizer optimizer(trained.parameters(), {});
  TrainStateFolder folder(dir.path());
  folder.save({}, optimizer, true);
  const std::string file = dir / "state.json";
  Json json = read_json(file);
  json.erase("version");
  write_file(file, json.dump());
  expect_error(ErrorKind::Corrupt, "version 1, this program reads version 2",
               [&] { folder.restore(optimizer); });
  EXPECT_TRUE(TrainStateFolder::holds_state(dir.path()));
}

TEST(TrainStateFolder, AnUnprovenStateStandsBesideTheProvenOneUntilItIsProven) {
  const TempDir dir;
  const Model model = test::tiny_model({});
  TrainModel trained = adapted(model);
  Optimizer optimizer(trained.parameters(), {});
  const auto at_step = [](int64_t step) {
    TrainState state;
    state.outcome.steps = step;
    return state;
  };
  const auto there = [&](int64_t step) {
    return std::filesystem::exists(dir / c10::str("state-", step, ".tensors"));
  };
  TrainStateFolder folder(dir.path());
  folder.save(at_step(2), optimizer, true);
  folder.save(at_step(3), optimizer, false);
  EXPECT_TRUE(there(2));
  EXPECT_EQ(folder.restore(optimizer)->outcome.steps, 3);
  folder.save(at_step(4), optimizer, false);
  EXPECT_TRUE(there(2));
  EXPECT_FALSE(there(3));
  folder.save(at_step(4), optimizer, true);
  EXPECT_FALSE(there(2));
  EXPECT_EQ(folder.go_back(), 4);
  folder.save(at_step(5), optimizer, false);
  EXPECT_EQ(folder.go_back(), 4);
  EXPECT_FALSE(there(5));
  EXPECT_EQ(folder.restore(optimizer)->outcome.steps, 4);
}

TEST(TrainStateFolder, AStateThatIsNotFiniteDoesNotReplaceOneThatIs) {
  const TempDir dir;
  const Model model = test::tiny_model({});
  TrainModel trained = adapted(model);
  Optimizer optimizer(trained.parameters(), {});
  TrainStateFolder folder(dir.path());
  TrainState state;
  folder.save(state, optimizer, true);
  {
    const at::NoGradGuard no_grad;
    optimizer.parameters()[0].value[0][0] = std::numeric_limits<float>::infinity();
  }
  state.outcome.steps = 1;
  for (const bool proven : {true, false}) {
    expect_error(ErrorKind::Numeric, "after training step 1",
                 [&] { folder.save(state, optimizer, proven); });
  }
  EXPECT_EQ(folder.restore(optimizer)->outcome.steps, 0);
}

}  // namespace
}  // namespace prunus::train_state_test
