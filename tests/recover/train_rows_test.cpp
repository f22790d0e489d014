#include "prunus/recover/train_rows.h"

#include <gtest/gtest.h>

namespace prunus::test::train_rows_test {
namespace {

TrainerOptions resolved(const TrainLength& length, size_t rows, int64_t batch_rows = 4) {
  TrainerOptions trainer;
  trainer.batch_rows = batch_rows;
  resolve_steps(trainer, length, rows);
  return trainer;
}

TEST(ResolveSteps, GoesThroughTheRowsAsOftenAsTheEpochsSay) {
  EXPECT_EQ(resolved({.epochs = 1}, 8).max_steps, 2);
  EXPECT_EQ(resolved({.epochs = 1}, 9).max_steps, 3);  // the last batch is not full
  EXPECT_EQ(resolved({.epochs = 2.5}, 8).max_steps, 5);
  EXPECT_EQ(resolved({.epochs = 0.01}, 8).max_steps, 1);
}

TEST(ResolveSteps, StepsComeBeforeEpochs) {
  EXPECT_EQ(resolved({.epochs = 7, .max_steps = 11}, 8).max_steps, 11);
}

TEST(ResolveSteps, WarmsUpForAShareUnlessToldHowLong) {
  const TrainerOptions share = resolved({.max_steps = 30, .warmup_fraction = 0.05}, 8);
  EXPECT_EQ(share.schedule.warmup_steps, 2);  // of 1.5
  EXPECT_EQ(share.schedule.total_steps, 30);
  EXPECT_EQ(resolved({.max_steps = 30, .warmup_steps = 0, .warmup_fraction = 0.5}, 8)
                .schedule.warmup_steps,
            0);
}

}  // namespace
}  // namespace prunus::test::train_rows_test
