#include "prunus/recover/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/rng.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus {
namespace {

using test::expect_error;
using test::TempDir;

/// Thrown by a log in place of a killed process.
struct Killed {};

DataSplit data_of(const Model& model, int64_t train, int64_t valid, int64_t highest = 1 << 20) {
  PythonRandom random(3);
  const auto limit = static_cast<uint64_t>(std::min<int64_t>(highest, model.config().vocab_size));
  const auto row = [&](size_t length) {
    TrainRow one;
    // Every id is followed by its successor, mostly: something to learn.
    uint64_t id = random.below(limit);
    for (size_t i = 0; i < length; ++i) {
      one.ids.push_back(static_cast<int64_t>(id));
      one.scored.push_back(i == 0 ? 0 : 1);
      id = random.below(10) == 0 ? random.below(limit) : (id + 1) % limit;
    }
    return one;
  };
  DataSplit split;
  for (int64_t i = 0; i < train; ++i) split.train.push_back(row(6 + random.below(5)));
  for (int64_t i = 0; i < valid; ++i) split.valid.push_back(row(8));
  return split;
}

TrainerOptions options_for(int64_t steps, const std::string& dir = {}) {
  TrainerOptions options;
  options.max_steps = steps;
  options.batch_rows = 4;
  options.micro_rows = 2;
  options.schedule = {.kind = ScheduleKind::Linear, .lr = 0.02, .warmup_steps = 2};
  options.state_dir = dir;
  options.save_every = 3;
  options.valid_every = 4;
  options.seed = 9;
  return options;
}

TrainModel adapted(const Model& model, double dropout = 0) {
  return TrainModel(
      model, at::kCPU, {},
      LoraAdapter::make(model, {.r = 2, .alpha = 4, .dropout = dropout}, 1, at::kCPU));
}

std::vector<at::Tensor> values(const TrainModel& model) {
  std::vector<at::Tensor> all;
  for (const Parameter& one : model.parameters()) all.push_back(one.value.detach().clone());
  return all;
}

void expect_bits(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  // A NaN equals itself here.
  const auto bits = [](const at::Tensor& value) { return value.contiguous().view(at::kInt); };
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(bits(got[i]), bits(want[i]))) << i;
}

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

TEST(Trainer, ARunKilledAtAnyStepEndsInTheSameBits) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 20, 4);
  constexpr int64_t kSteps = 11;
  for (const bool full : {false, true}) {
    const auto make = [&] { return full ? TrainModel(model, at::kCPU, {}) : adapted(model, 0.2); };
    TrainModel whole = make();
    const TrainOutcome want = Trainer(whole, data, nullptr, options_for(kSteps)).run();
    for (int64_t kill_at = 1; kill_at < kSteps; ++kill_at) {
      const TempDir dir;
      TrainModel killed = make();
      EXPECT_THROW(Trainer(killed, data, nullptr, options_for(kSteps, dir.path()))
                       .run([&](const Json& line) {
                         if (line.at("step") == kill_at) throw Killed();
                       }),
                   Killed);
      TrainModel resumed = make();
      const TrainOutcome got =
          Trainer(resumed, data, nullptr, options_for(kSteps, dir.path())).run();
      EXPECT_EQ(got.resumed, kill_at > 3);
      EXPECT_EQ(got.steps, want.steps);
      EXPECT_EQ(got.best_step, want.best_step);
      EXPECT_EQ(got.valid_best, want.valid_best);
      EXPECT_EQ(got.train_loss, want.train_loss);
      EXPECT_EQ(got.targets, want.targets);
      expect_bits(values(resumed), values(whole));
    }
  }
}

TEST(Trainer, MuonResumesInTheSameBitsToo) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 20, 0);
  TrainerOptions options = options_for(8);
  options.optimizer.kind = OptimizerOptions::Kind::Muon;
  TrainModel whole(model, at::kCPU, {});
  Trainer(whole, data, nullptr, options).run();
  const TempDir dir;
  options.state_dir = dir.path();
  TrainModel killed(model, at::kCPU, {});
  EXPECT_THROW(Trainer(killed, data, nullptr, options).run([](const Json& line) {
    if (line.at("step") == 5) throw Killed();
  }),
               Killed);
  TrainModel resumed(model, at::kCPU, {});
  EXPECT_TRUE(Trainer(resumed, data, nullptr, options).run().resumed);
  expect_bits(values(resumed), values(whole));
}

// A NaN in the embedding of an id that the data comes to at some step only.
TEST(Trainer, ALossThatIsNotFiniteStopsWithADiagnosisAndTheLastGoodState) {
  const Model model = test::tiny_model({});
  DataSplit data = data_of(model, 40, 0, /*highest=*/20);
  data.train[17].ids[3] = 25;
  TrainModel trained(model, at::kCPU, {});
  for (const Parameter& one : trained.parameters()) {
    if (one.name != model.tensor(Role::EmbedTokens).name) continue;
    const at::NoGradGuard no_grad;
    one.value[25].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  int64_t bad_step = 0;
  const RowOrder order(40, 4, 9);
  while (!testing::Value(order.rows_of(bad_step), testing::Contains(17))) ++bad_step;
  ASSERT_GT(bad_step, 0) << "choose another seed";
  const TempDir dir;
  TrainerOptions options = options_for(10, dir.path());
  std::vector<at::Tensor> last;
  Trainer trainer(trained, data, nullptr, options);
  const auto run = [&] { trainer.run([&](const Json&) { last = values(trained); }); };
  expect_error(ErrorKind::Numeric, c10::str("training step ", bad_step + 1), run);
  ASSERT_TRUE(TrainStateFolder::holds_state(dir.path()));
  expect_bits(values(trained), last);
  TrainModel again(model, at::kCPU, {});
  Optimizer optimizer(again.parameters(), options.optimizer);
  const auto state = TrainStateFolder(dir.path()).restore(optimizer);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->outcome.steps, bad_step);
  expect_bits(values(again), last);
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

}  // namespace
}  // namespace prunus
