#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/base/progress.h"
#include "prunus/train/optimizer.h"
#include "prunus/train/schedule.h"
#include "prunus/train/train_data.h"
#include "prunus/train/train_model.h"
#include "prunus/train/train_state.h"

namespace prunus {

struct TrainerOptions {
  int64_t max_steps = 100;   ///< optimiser steps, ≥ 1
  int64_t batch_rows = 16;   ///< rows a step, ≥ 1
  int64_t micro_rows = 4;    ///< rows through the model at once; gradients add up over a step
  ScheduleOptions schedule;  ///< its total_steps is max_steps
  OptimizerOptions optimizer;
  double clip = 1.0;        ///< largest norm of the whole gradient; 0: not clipped
  LossWeights loss;         ///< of training; validation measures cross-entropy
  std::vector<Seam> seams;  ///< where loss.seam > 0
  int64_t valid_every = 0;  ///< steps between validations; 0: a tenth of the run
  int64_t patience = 0;     ///< validations without a better one before it stops; 0: never stops
  int64_t save_every = 0;   ///< steps between saved states; 0: every 30 seconds
  std::string state_dir;    ///< where the state is saved; empty: nowhere, no resuming
  uint64_t seed = 0;        ///< order of the rows, dropout
  double matmul_flops = 0;  ///< rate of this machine's matrix products, for MFU; 0: not known
};

/// The training loop. A step: rows by RowOrder, in micro-batches; loss summed over all targets of
/// the step and divided by their number; clip; update. Everything a step does follows from the seed
/// and its number, and a stopped validation is made up for, so a run that was interrupted at any
/// moment and resumed with the same options ends in the same bits, log lines and decisions (CPU,
/// same number of threads). A run may be resumed with other changeable_settings(): they hold from
/// the step on where it is resumed, and the outcome names them. With validation rows, the weights
/// with the lowest validation loss are the result, the starting ones included; else the last ones,
/// after a forward pass of some rows to come has shown them to give finite numbers.
/// A state is saved when the loss and gradient of the step behind it have come out finite, before
/// their update: the first one at once, the others as save_every says.
class Trainer {
 public:
  /// `teacher` may be null. Keeps references to model, rows and teacher.
  /// Throws InvalidArgument for options out of range.
  Trainer(TrainModel& model, const DataSplit& data, const Teacher* teacher, TrainerOptions options);

  /// Trains and leaves the result in the model. Every step is a line of JSON to `log`.
  /// Throws Numeric where a loss or gradient is not finite: the message says at which step and
  /// rows, where in the model it began and at which rate, and which saved state is left: one from
  /// before the update that gave these numbers.
  /// Throws Interrupted after saving the state; Io.
  TrainOutcome run(const std::function<void(const Json&)>& log = {});

  /// Mean cross-entropy of the validation rows in nats; nothing where there are none.
  std::optional<double> validate();

 private:
  using Log = std::function<void(const Json&)>;
  /// What a step has found out before it changes anything.
  struct Gradient {
    std::vector<int64_t> rows;
    LossSums sums;
    double norm = 0;  ///< before clipping
    double seconds = 0;
  };

  TrainState begin();
  void loop(TrainState& state, const Log& log);
  /// What is still to be done about the last step: validation, early stop, log line.
  void settle(TrainState& state, const Log& log);
  Gradient gradient(const TrainState& state);
  void update(TrainState& state, const Gradient& gradient);
  void save_if_due(const TrainState& state);
  void check_last(const TrainState& state);
  [[noreturn]] void leave(const TrainState& state, const Error& error);
  LossSums add_gradients(const TrainState& state, const std::vector<int64_t>& rows);
  void check_finite_loss(const LossSums& sums, const TrainBatch& batch, const TrainState& state,
                         const std::vector<int64_t>& rows) const;
  bool validation_due(int64_t step) const;
  void judge(TrainState& state);
  Json log_line(const TrainState& state) const;

  TrainModel& model_;
  const DataSplit& data_;
  const Teacher* teacher_;
  TrainerOptions options_;
  Optimizer optimizer_;
  RowOrder order_;
  TrainStateFolder folder_;
  std::vector<TrainBatch> valid_;
  Timer since_save_;
  double flops_per_token_ = 0;
};

}  // namespace prunus
