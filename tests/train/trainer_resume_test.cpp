// Training that is interrupted: the resumed run ends in the same bits, log and decisions.
#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/train/train_settings.h"
#include "prunus/train/trainer.h"

#include "support/paths.h"
#include "support/stopping_source.h"
#include "support/tiny_model.h"
#include "train/trainer_fixture.h"

namespace prunus::trainer_resume_test {
namespace {

using test::adapted;
using test::data_of;
using test::expect_bits;
using test::Killed;
using test::options_for;
using test::TempDir;
using test::values;

// Each step's last line, without times.
class Log {
 public:
  std::function<void(const Json&)> taker() {
    return [this](Json line) {
      line.erase("seconds");
      lines[line.at("step").get<int64_t>()] = line.dump();
    };
  }
  std::map<int64_t, std::string> lines;
};

void expect_same(const TrainOutcome& got, const TrainOutcome& want) {
  EXPECT_EQ(got.steps, want.steps);
  EXPECT_EQ(got.best_step, want.best_step);
  EXPECT_EQ(got.stopped_early, want.stopped_early);
  EXPECT_EQ(got.valid_before, want.valid_before);
  EXPECT_EQ(got.valid_best, want.valid_best);
  EXPECT_EQ(got.valid_last, want.valid_last);
  EXPECT_EQ(got.train_loss, want.train_loss);
  EXPECT_EQ(got.targets, want.targets);
  EXPECT_EQ(got.tokens, want.tokens);
}

// Stopped at every read of the weights, of which each forward pass makes some: in every validation,
// the first and the last one too, and in every step.
void expect_exact_after_a_stop_anywhere(const TrainerOptions& options, const DataSplit& data) {
  const Model model = test::tiny_model({});
  const auto source = std::make_shared<test::StoppingSource>(model.shared_source());
  source->stop = [] { throw Error(ErrorKind::Interrupted, "interrupted"); };
  const Model watched(model.config(), source);
  TrainModel whole = adapted(watched, 0.2);
  const size_t before = source->layers.size();
  Log log;
  const TrainOutcome want = Trainer(whole, data, nullptr, options).run(log.taker());
  const size_t reads = source->layers.size() - before;
  ASSERT_GT(reads, 10U);
  for (size_t read = 0; read < reads; ++read) {
    SCOPED_TRACE(c10::str("stopped at read ", read, " of ", reads));
    const TempDir dir;
    TrainerOptions saved = options;
    saved.state_dir = dir.path();
    Log again;
    TrainModel stopped = adapted(watched, 0.2);
    Trainer first(stopped, data, nullptr, saved);
    source->reads_left = static_cast<int64_t>(read);
    EXPECT_THROW(first.run(again.taker()), Error);
    TrainModel resumed = adapted(model, 0.2);
    const TrainOutcome got = Trainer(resumed, data, nullptr, saved).run(again.taker());
    EXPECT_TRUE(got.resumed);
    expect_same(got, want);
    expect_bits(values(resumed), values(whole));
    EXPECT_EQ(again.lines, log.lines);
  }
}

TEST(TrainerResume, AStopAtAnyMomentOfTrainingOrValidationChangesNothing) {
  TrainerOptions options = options_for(6);
  options.valid_every = 2;
  expect_exact_after_a_stop_anywhere(options, data_of(test::tiny_model({}), 20, 4));
}

TEST(TrainerResume, AStopAtAnyMomentLeavesTheEarlyStopWhereItWas) {
  DataSplit data = data_of(test::tiny_model({}), 8, 4);
  // Validation rows that go the other way round: training on can only make them worse.
  for (TrainRow& row : data.valid) std::reverse(row.ids.begin(), row.ids.end());
  TrainerOptions options = options_for(40);
  options.schedule.lr = 0.2;
  options.valid_every = 2;
  options.patience = 2;
  expect_exact_after_a_stop_anywhere(options, data);
}

TEST(TrainerResume, ARunKilledAtAnyStepEndsInTheSameBits) {
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
      EXPECT_TRUE(got.resumed);  // a state is there before the first update
      EXPECT_EQ(got.steps, want.steps);
      EXPECT_EQ(got.best_step, want.best_step);
      EXPECT_EQ(got.valid_best, want.valid_best);
      EXPECT_EQ(got.train_loss, want.train_loss);
      EXPECT_EQ(got.targets, want.targets);
      expect_bits(values(resumed), values(whole));
    }
  }
}

TEST(TrainerResume, MuonResumesInTheSameBitsToo) {
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

TEST(TrainerResume, OtherRatesClippingAndLengthHoldFromThereOnAndAreNamed) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 20, 4);
  const TempDir dir;
  TrainModel killed = adapted(model);
  EXPECT_THROW(
      Trainer(killed, data, nullptr, options_for(11, dir.path())).run([](const Json& line) {
        if (line.at("step") == 5) throw Killed();
      }),
      Killed);
  TrainerOptions other = options_for(9, dir.path());
  other.schedule.kind = ScheduleKind::Constant;
  other.schedule.lr = 0.003;
  other.clip = 0.5;
  Log log;
  TrainModel resumed = adapted(model);
  const TrainOutcome outcome = Trainer(resumed, data, nullptr, other).run(log.taker());
  EXPECT_EQ(outcome.steps, 9);
  EXPECT_EQ(Json::parse(log.lines.at(4)).at("lr"), 0.003);  // the first one behind state 3
  EXPECT_EQ(Json::parse(log.lines.at(9)).at("lr"), 0.003);
  EXPECT_EQ(to_json(outcome.changes), Json::parse(R"([{"step": 3, "clip": [1.0, 0.5],
      "lr": [0.02, 0.003], "max_steps": [11, 9], "schedule": ["linear", "constant"]}])"));
}

// Best weights of steps that a resumed run does not come to again are not its result.
TEST(TrainerResume, AShorterResumedRunKeepsTheBestWeightsOfItsOwn) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 20, 4);
  const TempDir dir;
  TrainerOptions options = options_for(12, dir.path());
  options.valid_every = 2;
  TrainModel killed = adapted(model);
  EXPECT_THROW(Trainer(killed, data, nullptr, options).run([](const Json& line) {
    if (line.at("step") == 6) throw Killed();
  }),
               Killed);
  options.max_steps = 4;
  TrainModel resumed = adapted(model);
  Trainer trainer(resumed, data, nullptr, options);
  const TrainOutcome outcome = trainer.run();
  EXPECT_EQ(outcome.steps, 4);
  EXPECT_LE(outcome.best_step, 4);
  EXPECT_EQ(*trainer.validate(), *outcome.valid_best);
}

TEST(TrainerResume, AnEndedRunThatIsResumedGivesItsResultAgain) {
  const Model model = test::tiny_model({});
  const DataSplit data = data_of(model, 20, 4);
  const TempDir dir;
  const TrainerOptions options = options_for(6, dir.path());
  TrainModel whole = adapted(model);
  const TrainOutcome want = Trainer(whole, data, nullptr, options).run();
  TrainModel again = adapted(model);
  const TrainOutcome got = Trainer(again, data, nullptr, options).run();
  expect_same(got, want);
  expect_bits(values(again), values(whole));
}

}  // namespace
}  // namespace prunus::trainer_resume_test
