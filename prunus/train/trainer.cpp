#include "prunus/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/model/cost.h"
#include "prunus/train/train_settings.h"

namespace prunus {
namespace {

constexpr double kSaveSeconds = 30;

// Other steps and micro-batches give unrelated dropout.
uint64_t dropout_seed(uint64_t seed, uint64_t step, uint64_t micro) {
  return splitmix64(seed, step * 1024 + micro);
}

// Multiplications and additions of forward and backward pass per token, without recomputing.
double flops_per_token(const TrainModel& model, int64_t row_tokens) {
  const Macs macs = count_macs(model.base().config(), row_tokens);
  const double forward = 2 * macs.total() / static_cast<double>(row_tokens);
  if (model.full()) return 3 * forward;
  return 2 * forward + 6 * static_cast<double>(model.adapter()->parameter_count());
}

int64_t ids_in(const std::vector<TrainRow>& rows, const std::vector<int64_t>& numbers) {
  int64_t count = 0;
  for (const int64_t number : numbers) {
    count += static_cast<int64_t>(rows[static_cast<size_t>(number)].ids.size());
  }
  return count;
}

int64_t targets_in(const std::vector<TrainBatch>& batches) {
  int64_t targets = 0;
  for (const TrainBatch& batch : batches) targets += batch.targets;
  return targets;
}

std::vector<int64_t> all_numbers(size_t count) {
  std::vector<int64_t> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = static_cast<int64_t>(i);
  return numbers;
}

double mfu_of(const TrainOutcome& done, double flops_per_token, double matmul_flops) {
  if (matmul_flops <= 0 || done.seconds <= 0) return 0;
  return static_cast<double>(done.tokens) * flops_per_token / (done.seconds * matmul_flops);
}

std::string note_of(const TrainState& state) {
  const TrainOutcome& outcome = state.outcome;
  char text[160];
  int length = std::snprintf(text, sizeof text, "loss %.4f", state.last_loss);
  const auto add = [&](const char* format, double value) {
    length +=
        std::snprintf(text + length, sizeof text - static_cast<size_t>(length), format, value);
  };
  if (outcome.valid_last) add(", valid %.4f", *outcome.valid_last);
  add(", %.0f tokens/s", outcome.tokens_per_second());
  if (outcome.mfu > 0) add(", MFU %.0f %%", 100 * outcome.mfu);
  return text;
}

}  // namespace

Trainer::Trainer(TrainModel& model, const DataSplit& data, const Teacher* teacher,
                 TrainerOptions options)
    : model_(model),
      data_(data),
      teacher_(teacher),
      options_(std::move(options)),
      optimizer_(model.parameters(), options_.optimizer),
      order_(static_cast<int64_t>(data.train.size()), options_.batch_rows, options_.seed),
      folder_(options_.state_dir) {
  PRUNUS_CHECK(options_.max_steps >= 1 && options_.micro_rows >= 1 && options_.clip >= 0,
               InvalidArgument, "training: got ", options_.max_steps, " steps, ",
               options_.micro_rows, " rows at once, clip ", options_.clip,
               "; expected at least 1 step and row, and clip 0 or more");
  PRUNUS_CHECK(!options_.loss.needs_teacher() || teacher != nullptr, InvalidArgument,
               "distillation needs a teacher; pass --teacher");
  options_.schedule.total_steps = options_.max_steps;
  if (options_.valid_every <= 0) {
    options_.valid_every = std::max<int64_t>(1, options_.max_steps / 10);
  }
  if (!data.valid.empty()) {
    valid_ = make_train_batches(data.valid, all_numbers(data.valid.size()), options_.micro_rows);
  }
  size_t longest = 2;
  for (const TrainRow& row : data.train) longest = std::max(longest, row.ids.size());
  flops_per_token_ = flops_per_token(model, static_cast<int64_t>(longest));
}

std::optional<double> Trainer::validate() {
  if (valid_.empty()) return std::nullopt;
  LossSums sums;
  Progress progress("validate: batches", static_cast<int64_t>(valid_.size()));
  for (const TrainBatch& batch : valid_) {
    sums += model_.run(batch, {});
    progress.step();
  }
  return sums.ce / static_cast<double>(sums.targets);
}

void Trainer::check_finite_loss(const LossSums& sums, const TrainBatch& batch,
                                const TrainState& state, const std::vector<int64_t>& rows) const {
  if (std::isfinite(sums.objective)) return;
  const int64_t done = state.outcome.steps;
  PRUNUS_FAIL(Numeric, "training step ", done + 1, ": the loss is ", sums.objective,
              "; the forward pass first leaves the finite numbers in ",
              model_.first_bad_place(batch), " (rows ", rows,
              " of the training data, learning rate ",
              done > 0 ? state.last_rate : learning_rate(options_.schedule, 0),
              "; loss of the step before ", state.last_loss, ", gradient norm ", state.last_norm,
              "). Lower --lr, raise --warmup, or look at these rows and at the model's weights");
}

LossSums Trainer::add_gradients(const TrainState& state, const std::vector<int64_t>& rows) {
  const auto batches = make_train_batches(data_.train, rows, options_.micro_rows);
  std::vector<TeacherStates> states;
  if (options_.loss.needs_teacher()) states = teacher_->run(batches);
  const double scale = 1.0 / static_cast<double>(targets_in(batches));
  LossSums sums;
  for (size_t i = 0; i < batches.size(); ++i) {
    const TrainModel::Pass pass{
        .weights = options_.loss,
        .teacher = teacher_,
        .states = states.empty() ? nullptr : &states[i],
        .seams = options_.seams,
        .scale = scale,
        .dropout_seed = dropout_seed(options_.seed, static_cast<uint64_t>(state.outcome.steps), i)};
    const LossSums one = model_.run(batches[i], pass);
    check_finite_loss(one, batches[i], state, rows);
    sums += one;
    if (!states.empty()) states[i] = {};
  }
  return sums;
}

Trainer::Gradient Trainer::gradient(const TrainState& state) {
  const Timer timer;
  const int64_t step = state.outcome.steps;
  Gradient result;
  result.rows = order_.rows_of(step);
  optimizer_.zero_grad();
  result.sums = add_gradients(state, result.rows);
  model_.mask_gradients();
  result.norm = optimizer_.clip(options_.clip);
  PRUNUS_CHECK(std::isfinite(result.norm), Numeric, "training step ", step + 1,
               ": the gradient's norm is ", result.norm, " though the loss is ",
               result.sums.objective / static_cast<double>(result.sums.targets), " (rows ",
               result.rows, " of the training data, learning rate ",
               step > 0 ? state.last_rate : learning_rate(options_.schedule, 0),
               "). Lower --lr, or look at these rows and at the weights");
  result.seconds = timer.seconds();
  return result;
}

void Trainer::update(TrainState& state, const Gradient& gradient) {
  const Timer timer;
  TrainOutcome& done = state.outcome;
  state.last_rate = learning_rate(options_.schedule, done.steps);
  optimizer_.step(state.last_rate);
  model_.mask_values();
  state.last_sums = gradient.sums;
  state.last_loss = gradient.sums.objective / static_cast<double>(gradient.sums.targets);
  state.last_norm = gradient.norm;
  state.losses.push_back(state.last_loss);
  ++done.steps;
  done.tokens += ids_in(data_.train, gradient.rows);
  done.targets += gradient.sums.targets;
  done.seconds += gradient.seconds + timer.seconds();
  done.mfu = mfu_of(done, flops_per_token_, options_.matmul_flops);
}

bool Trainer::validation_due(int64_t step) const {
  return step % options_.valid_every == 0 || step >= options_.max_steps;
}

// Measures the validation loss and keeps the weights where it is the best so far.
void Trainer::judge(TrainState& state) {
  const auto loss = validate();
  if (!loss) return;
  TrainOutcome& outcome = state.outcome;
  const bool better = std::isfinite(*loss) && (!state.best || *loss < *state.best);
  // First what can fail: a state that is saved after that is one that was not judged.
  if (better) folder_.keep_best(optimizer_, outcome.steps);
  outcome.valid_last = loss;
  if (outcome.steps == 0) outcome.valid_before = loss;
  ++state.worse;
  if (!better) return;
  state.best = loss;
  state.worse = 0;
  outcome.valid_best = loss;
  outcome.best_step = outcome.steps;
}

Json Trainer::log_line(const TrainState& state) const {
  const LossSums& sums = state.last_sums;
  const auto targets = static_cast<double>(sums.targets);
  const int64_t step = state.outcome.steps;
  Json line = {{"step", step}};
  if (step > 0) {
    line["loss"] = state.last_loss;
    line["ce"] = sums.ce / targets;
    if (options_.loss.kl > 0) line["kl"] = sums.kl / targets;
    if (options_.loss.seam > 0) line["seam"] = sums.seam / targets;
    line["lr"] = state.last_rate;
    line["grad_norm"] = state.last_norm;
    line["targets"] = sums.targets;
    line["seconds"] = state.outcome.seconds;
  }
  if (validation_due(step) && state.outcome.valid_last) {
    line["valid_loss"] = *state.outcome.valid_last;
  }
  return line;
}

void Trainer::settle(TrainState& state, const Log& log) {
  TrainOutcome& done = state.outcome;
  if (validation_due(done.steps) && state.judged_step != done.steps) {
    judge(state);
    state.judged_step = done.steps;
    state.logged_step = -1;
  }
  done.stopped_early = options_.patience > 0 && state.worse >= options_.patience;
  if (state.logged_step == done.steps) return;
  if (log) log(log_line(state));
  state.logged_step = done.steps;
}

void Trainer::save_if_due(const TrainState& state) {
  const bool due = options_.save_every > 0 ? state.outcome.steps % options_.save_every == 0
                                           : since_save_.seconds() > kSaveSeconds;
  if (!due && folder_.proven()) return;
  folder_.save(state, optimizer_, /*proven=*/true);
  since_save_ = Timer();
}

void Trainer::loop(TrainState& state, const Log& log) {
  TrainOutcome& done = state.outcome;
  Progress progress("train: step", std::max<int64_t>(0, options_.max_steps - done.steps));
  settle(state, log);
  while (done.steps < options_.max_steps && !done.stopped_early) {
    const Gradient found = gradient(state);
    save_if_due(state);
    update(state, found);
    settle(state, log);
    progress.note(note_of(state));
    progress.step();
  }
  check_last(state);
}

// Where no step and no validation comes after the last update: one more step's loss and gradients
// show what it did.
void Trainer::check_last(const TrainState& state) {
  if (valid_.empty()) gradient(state);
}

// The state that a later run is to go on from.
TrainState Trainer::begin() {
  TrainState state;
  if (auto saved = folder_.restore(optimizer_)) state = std::move(*saved);
  auto settings = changeable_settings(options_);
  const auto changes = changed_settings(state.settings, settings, state.outcome.steps);
  if (!changes.empty()) {
    log_info(c10::str("going on after step ", state.outcome.steps, " with ", to_text(changes)));
  }
  add_changes(state.outcome.changes, changes);
  state.settings = std::move(settings);
  return state;
}

void Trainer::leave(const TrainState& state, const Error& error) {
  const bool interrupted = error.kind() == ErrorKind::Interrupted;
  const bool numeric = error.kind() == ErrorKind::Numeric;
  if (folder_.path().empty() || (!interrupted && !numeric)) throw error;
  if (interrupted) {
    try {
      folder_.save(state, optimizer_, /*proven=*/false);
    } catch (const Error& unfit) {
      if (unfit.kind() == ErrorKind::Numeric) leave(state, unfit);
      throw;
    }
    PRUNUS_FAIL(Interrupted, "stopped after step ", state.outcome.steps);
  }
  const auto left = folder_.go_back();
  if (!left) throw error;
  PRUNUS_FAIL(Numeric, error.what(), "; the last good state, after step ", *left,
              ", stays: --resume may go on from it with another --lr, warm-up or clip");
}

TrainOutcome Trainer::run(const std::function<void(const Json&)>& log) {
  TrainState state = begin();
  try {
    loop(state, log);
  } catch (const Error& error) {
    leave(state, error);
  }
  // Whatever happens while the result is written, the training is not done again.
  if (!folder_.path().empty()) folder_.save(state, optimizer_, /*proven=*/true);
  TrainOutcome& outcome = state.outcome;
  outcome.mfu = mfu_of(outcome, flops_per_token_, options_.matmul_flops);
  const size_t tenth = std::min(state.losses.size(), std::max<size_t>(1, state.losses.size() / 10));
  outcome.train_loss = std::accumulate(state.losses.end() - static_cast<std::ptrdiff_t>(tenth),
                                       state.losses.end(), 0.0) /
                       static_cast<double>(std::max<size_t>(1, tenth));
  if (!state.best) outcome.best_step = outcome.steps;
  if (outcome.best_step != outcome.steps) folder_.load_best(optimizer_, outcome.best_step);
  return outcome;
}

}  // namespace prunus
