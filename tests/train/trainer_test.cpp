#include "prunus/train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/paths.h"
#include "train/trainer_fixture.h"

namespace prunus::trainer_test {
namespace {

using test::adapted;
using test::data_of;
using test::expect_bits;
using test::expect_error;
using test::Killed;
using test::options_for;
using test::TempDir;
using test::values;

TEST(Trainer, LearnsAndKeepsTheBestByValidation) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 64, 8);
  TrainModel trained(model, at::kCPU, {});
  TrainerOptions options = options_for(60);
  Trainer trainer(trained, data, nullptr, options);
  double lowest = std::numeric_limits<double>::infinity();
  int64_t best_step = 0;
  const TrainOutcome outcome = trainer.run([&](const Json& line) {
    if (!line.contains("valid_loss")) return;
    const auto loss = line.at("valid_loss").get<double>();
    if (loss < lowest) best_step = line.at("step").get<int64_t>();
    lowest = std::min(lowest, loss);
  });
  EXPECT_LT(*outcome.valid_best, 0.7 * *outcome.valid_before);
  EXPECT_EQ(*outcome.valid_best, lowest);
  EXPECT_EQ(outcome.best_step, best_step);
  EXPECT_EQ(*trainer.validate(), lowest);  // the model holds those weights
}

TEST(Trainer, MicroBatchesChangeNothingButTheMemory) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 24, 0);
  std::vector<std::vector<at::Tensor>> results;
  for (const int64_t micro : {1, 4}) {
    TrainModel trained = adapted(model);
    TrainerOptions options = options_for(6);
    options.micro_rows = micro;
    Trainer(trained, data, nullptr, options).run();
    results.push_back(values(trained));
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    EXPECT_TRUE(at::allclose(results[0][i], results[1][i], 1e-3, 1e-4)) << i;
  }
}

// The tenth step's rate is too high for any weight: what it leaves gives no finite loss.
class Diverging : public testing::Test {
 protected:
  TrainerOptions options(const std::string& path, int64_t steps = 20) const {
    TrainerOptions made = options_for(steps, path);
    made.schedule = {.kind = ScheduleKind::Constant, .lr = 0.02};
    made.save_every = 1;
    return made;
  }
  // Stops after step 9 by an exception that saves nothing.
  void train_nine(const std::string& path) const {
    TrainModel trained(model, at::kCPU, {});
    EXPECT_THROW(Trainer(trained, data, nullptr, options(path)).run([](const Json& line) {
      if (line.at("step") == 9) throw Killed();
    }),
                 Killed);
  }
  TrainerOptions too_high(const std::string& path) const {
    TrainerOptions made = options(path);
    made.schedule.lr = 1e38;  // values of that size overflow in any product
    return made;
  }

  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 40, 0);
};

TEST_F(Diverging, TheStateBeforeTheUpdateThatDidItIsKeptAndALowerRateGoesOnFromThere) {
  const TempDir dir;
  train_nine(dir.path());
  TrainModel bad(model, at::kCPU, {});
  Trainer trainer(bad, data, nullptr, too_high(dir.path()));
  expect_error(ErrorKind::Numeric, "training step 10", [&] { trainer.run(); });
  TrainModel kept(model, at::kCPU, {});
  Optimizer optimizer(kept.parameters(), {});
  const auto state = TrainStateFolder(dir.path()).restore(optimizer);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->outcome.steps, 8);
  for (const at::Tensor& one : values(kept)) EXPECT_LT(one.abs().max().item<double>(), 10);
  TrainModel again(model, at::kCPU, {});
  const TrainOutcome outcome = Trainer(again, data, nullptr, options(dir.path())).run();
  TrainModel whole(model, at::kCPU, {});
  Trainer(whole, data, nullptr, options({})).run();
  expect_bits(values(again), values(whole));
  ASSERT_EQ(outcome.changes.size(), 0U);  // of the rate that led nowhere nothing is left
}

TEST_F(Diverging, TheMessageSaysWhatIsKeptAndWhatToDo) {
  const TempDir dir;
  train_nine(dir.path());
  for (const char* part :
       {"the last good state, after step 8", "--resume may go on from it with another --lr",
        "learning rate 1e+38", "Lower --lr"}) {
    TrainModel bad(model, at::kCPU, {});
    Trainer trainer(bad, data, nullptr, too_high(dir.path()));
    expect_error(ErrorKind::Numeric, part, [&] { trainer.run(); });
  }
}

TEST_F(Diverging, AStateIsKeptFromBeforeTheVeryFirstUpdate) {
  const TempDir dir;
  TrainModel bad(model, at::kCPU, {});
  TrainerOptions options = too_high(dir.path());
  options.save_every = 1000;
  Trainer trainer(bad, data, nullptr, options);
  expect_error(ErrorKind::Numeric, "the last good state, after step 0", [&] { trainer.run(); });
}

TEST_F(Diverging, ALastUpdateThatNoStepFollowsIsLookedAtToo) {
  const TempDir dir;
  train_nine(dir.path());
  TrainModel bad(model, at::kCPU, {});
  TrainerOptions options = too_high(dir.path());
  options.max_steps = 9;
  Trainer trainer(bad, data, nullptr, options);
  expect_error(ErrorKind::Numeric, "training step 10", [&] { trainer.run(); });
}

TEST(Trainer, TheDiagnosisNamesPlaceRowsAndRate) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 8, 0);
  TrainerOptions options = options_for(30);
  options.schedule = {.kind = ScheduleKind::Constant, .lr = 1e20};
  options.clip = 0;
  for (const char* part : {"learning rate 1e+20", "of the training data", "Lower --lr"}) {
    TrainModel trained(model, at::kCPU, {});
    Trainer trainer(trained, data, nullptr, options);
    expect_error(ErrorKind::Numeric, part, [&] { trainer.run(); });
  }
}

TEST(Trainer, StopsEarlyWhereValidationNoLongerImproves) {
  const Model model = test::tiny_model({});
  DataSplit data = data_of(model, 8, 4);
  // Validation rows that go the other way round: training on can only make them worse.
  for (TrainRow& row : data.valid) std::reverse(row.ids.begin(), row.ids.end());
  TrainModel trained(model, at::kCPU, {});
  TrainerOptions options = options_for(200);
  options.patience = 3;
  options.valid_every = 5;
  const TrainOutcome outcome = Trainer(trained, data, nullptr, options).run();
  EXPECT_TRUE(outcome.stopped_early);
  EXPECT_LT(outcome.steps, 200);
  EXPECT_EQ(outcome.steps - outcome.best_step, 15);
}

TEST(Trainer, DistillationAloneBringsTheStudentToTheTeacher) {
  const Model dense = test::tiny_model({});
  const Model student = test::tiny_model({}, 5);
  const DataSplit data = data_of(dense, 64, 0);
  const Teacher teacher(dense, at::kCPU, true);
  TrainModel trained(student, at::kCPU, {});
  TrainerOptions options = options_for(150);
  options.loss = {.ce = 0, .kl = 1};
  std::vector<double> kl;
  Trainer(trained, data, &teacher, options).run([&](const Json& line) {
    if (line.contains("kl")) kl.push_back(line.at("kl").get<double>());
  });
  EXPECT_LT(kl.back(), 0.25 * kl.front());
}

TEST(Teacher, StreamedAndResidentSayTheSame) {
  const Model dense = test::tiny_model({.layers = 3});
  const DataSplit data = data_of(dense, 6, 0);
  const auto batches = make_train_batches(data.train, {0, 1, 2, 3, 4, 5}, 2);
  const auto streamed = Teacher(dense, at::kCPU, false, {1}).run(batches);
  const auto resident = Teacher(dense, at::kCPU, true, {1}).run(batches);
  ASSERT_EQ(streamed.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::equal(streamed[i].hidden, resident[i].hidden));
    EXPECT_TRUE(at::equal(streamed[i].seams.at(0), resident[i].seams.at(0)));
  }
}

TEST(Trainer, RefusesWhatMakesNoSense) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 8, 0);
  TrainModel trained = adapted(model);
  const auto with = [&](const std::function<void(TrainerOptions&)>& change) {
    TrainerOptions options = options_for(4);
    change(options);
    return [&, options] { Trainer(trained, data, nullptr, options).run(); };
  };
  using Kind = ErrorKind;
  expect_error(Kind::InvalidArgument, "0 steps",
               with([](TrainerOptions& one) { one.max_steps = 0; }));
  expect_error(Kind::InvalidArgument, "teacher",
               with([](TrainerOptions& one) { one.loss.kl = 1; }));
  expect_error(Kind::InvalidArgument, "clip -1", with([](TrainerOptions& one) { one.clip = -1; }));
}

}  // namespace
}  // namespace prunus::trainer_test
