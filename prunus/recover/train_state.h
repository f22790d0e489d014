#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/recover/optimizer.h"

namespace prunus {

struct TrainOutcome {
  int64_t steps = 0;      ///< done, those of earlier processes included
  int64_t best_step = 0;  ///< after how many steps the kept weights were reached
  bool stopped_early = false;
  bool resumed = false;
  double train_loss = 0;  ///< mean objective per target over the last tenth of the steps
  std::optional<double> valid_before;  ///< nats per scored token before the first step
  std::optional<double> valid_best;    ///< of the weights that were kept
  std::optional<double> valid_last;    ///< after the last step
  int64_t tokens = 0;                  ///< ids that went through the model, without padding
  int64_t targets = 0;                 ///< of these, predicted
  double seconds = 0;                  ///< in training steps
  double mfu = 0;  ///< useful arithmetic (no recomputation) / (seconds · matmul rate); 0: unknown
  double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

/// What changes from step to step of a training run, besides the tensors.
struct TrainState {
  TrainOutcome outcome;
  std::optional<double> best;  ///< lowest validation loss so far
  int64_t worse = 0;           ///< validations since then
  double last_loss = std::numeric_limits<double>::quiet_NaN();
  double last_norm = 0;
  std::vector<double> losses;  ///< objective per target of every step done
};

/// A folder with the state of an unfinished run: state-N.tensors (values, then the optimiser's
/// states) and state.json, which names it and is replaced last, so that a killed process leaves the
/// state before or the state after, never half of one; best.tensors: the best values so far.
class TrainStateFolder {
 public:
  /// An empty path: nothing is saved, the best values are kept in RAM.
  explicit TrainStateFolder(std::string path) : path_(std::move(path)) {}

  /// Throws Io.
  void save(const TrainState& state, const Optimizer& optimizer) const;
  /// Copies values and states back; nothing where no state was saved. Throws Corrupt.
  std::optional<TrainState> restore(Optimizer& optimizer) const;

  void keep_best(const Optimizer& optimizer);
  /// Copies the best values back. Throws NotFound, Corrupt.
  void load_best(const Optimizer& optimizer) const;

  const std::string& path() const { return path_; }
  static bool holds_state(const std::string& path);

 private:
  std::string path_;
  std::vector<at::Tensor> best_;
};

}  // namespace prunus
