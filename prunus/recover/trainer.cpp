#include "prunus/recover/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/cost.h"

namespace prunus {
namespace {

constexpr double kSaveSeconds = 30;

// splitmix64: other steps and micro-batches give unrelated dropout.
uint64_t mix(uint64_t seed, uint64_t step, uint64_t micro) {
  uint64_t z = seed + 0x9E3779B97F4A7C15ULL * (step * 1024 + micro + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
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
              " of the training data, learning rate ", learning_rate(options_.schedule, done),
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
        .dropout_seed = mix(options_.seed, static_cast<uint64_t>(state.outcome.steps), i)};
    const LossSums one = model_.run(batches[i], pass);
    check_finite_loss(one, batches[i], state, rows);
    sums += one;
    if (!states.empty()) states[i] = {};
  }
  return sums;
}

LossSums Trainer::step(TrainState& state) {
  const Timer timer;
  TrainOutcome& done = state.outcome;
  const std::vector<int64_t> rows = order_.rows_of(done.steps);
  optimizer_.zero_grad();
  const LossSums sums = add_gradients(state, rows);
  model_.mask_gradients();
  const double norm = optimizer_.clip(options_.clip);
  const double loss = sums.objective / static_cast<double>(sums.targets);
  PRUNUS_CHECK(std::isfinite(norm), Numeric, "training step ", done.steps + 1,
               ": the gradient's norm is ", norm, " though the loss is ", loss, " (rows ", rows,
               " of the training data). Lower --lr, or look at these rows and at the weights");
  optimizer_.step(learning_rate(options_.schedule, done.steps));
  model_.mask_values();
  state.last_loss = loss;
  state.last_norm = norm;
  state.losses.push_back(loss);
  ++done.steps;
  done.tokens += ids_in(data_.train, rows);
  done.targets += sums.targets;
  done.seconds += timer.seconds();
  if (options_.matmul_flops > 0) {
    done.mfu = static_cast<double>(done.tokens) * flops_per_token_ /
               (done.seconds * options_.matmul_flops);
  }
  return sums;
}

// Measures the validation loss and keeps the weights where it is the best so far.
void Trainer::judge(TrainState& state) {
  const auto loss = validate();
  if (!loss) return;
  TrainOutcome& outcome = state.outcome;
  outcome.valid_last = loss;
  if (outcome.steps == 0) outcome.valid_before = loss;
  ++state.worse;
  if (!std::isfinite(*loss) || (state.best && *loss >= *state.best)) return;
  state.best = loss;
  state.worse = 0;
  outcome.valid_best = loss;
  outcome.best_step = outcome.steps;
  folder_.keep_best(optimizer_);
}

Json Trainer::log_line(const TrainState& state, const LossSums& sums, bool judged) const {
  const auto targets = static_cast<double>(sums.targets);
  const int64_t step = state.outcome.steps;
  Json line = {{"step", step}};
  if (step > 0) {
    line["loss"] = state.last_loss;
    line["ce"] = sums.ce / targets;
    if (options_.loss.kl > 0) line["kl"] = sums.kl / targets;
    if (options_.loss.seam > 0) line["seam"] = sums.seam / targets;
    line["lr"] = learning_rate(options_.schedule, step - 1);
    line["grad_norm"] = state.last_norm;
    line["targets"] = sums.targets;
    line["seconds"] = state.outcome.seconds;
  }
  if (judged && state.outcome.valid_last) line["valid_loss"] = *state.outcome.valid_last;
  return line;
}

void Trainer::loop(TrainState& state, const std::function<void(const Json&)>& log) {
  TrainOutcome& done = state.outcome;
  Progress progress("train: step", options_.max_steps - done.steps);
  Timer since_save;
  while (done.steps < options_.max_steps && !done.stopped_early) {
    const LossSums sums = step(state);
    const bool judged = done.steps % options_.valid_every == 0 || done.steps == options_.max_steps;
    if (judged) judge(state);
    done.stopped_early = options_.patience > 0 && state.worse >= options_.patience;
    if (log) log(log_line(state, sums, judged));
    progress.note(note_of(state));
    const bool due = options_.save_every > 0 ? done.steps % options_.save_every == 0
                                             : since_save.seconds() > kSaveSeconds;
    if (due && done.steps < options_.max_steps) {
      folder_.save(state, optimizer_);
      since_save = Timer();
    }
    progress.step();
  }
}

TrainOutcome Trainer::run(const std::function<void(const Json&)>& log) {
  TrainState state;
  if (auto saved = folder_.restore(optimizer_)) {
    state = std::move(*saved);
  } else {
    judge(state);
    if (log) log(log_line(state, {}, true));
  }
  try {
    loop(state, log);
  } catch (const Error& error) {
    const bool kept = error.kind() == ErrorKind::Interrupted || error.kind() == ErrorKind::Numeric;
    if (!kept || folder_.path().empty()) throw;
    folder_.save(state, optimizer_);
    throw Error(
        error.kind(),
        c10::str(error.kind() == ErrorKind::Interrupted ? "interrupted" : error.what(),
                 "; the state after step ", state.outcome.steps, " is kept in ", folder_.path()));
  }
  TrainOutcome& outcome = state.outcome;
  const size_t tenth = std::max<size_t>(1, state.losses.size() / 10);
  outcome.train_loss = std::accumulate(state.losses.end() - static_cast<std::ptrdiff_t>(tenth),
                                       state.losses.end(), 0.0) /
                       static_cast<double>(tenth);
  if (!state.best) outcome.best_step = outcome.steps;
  if (outcome.best_step != outcome.steps) folder_.load_best(optimizer_);
  return outcome;
}

double measure_matmul_flops(at::Device device, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kSize = 1024;
  constexpr double kSeconds = 0.1;
  const at::Tensor a = at::ones({kSize, kSize}, at::device(device).dtype(dtype));
  at::Tensor c = at::mm(a, a);
  const auto wait = [&] { return c.flatten().narrow(0, 0, 1).to(at::kFloat).item<float>(); };
  wait();
  const Timer timer;
  int64_t products = 0;
  while (timer.seconds() < kSeconds) {
    at::mm_out(c, a, a);
    wait();
    ++products;
  }
  return static_cast<double>(products) * 2 * kSize * kSize * kSize / timer.seconds();
}

}  // namespace prunus
