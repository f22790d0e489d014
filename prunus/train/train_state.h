#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/json.h"
#include "prunus/train/loss.h"
#include "prunus/train/optimizer.h"

namespace prunus {

/// An option that a resumed run has otherwise than the run before it. Values are JSON text.
struct OptionChange {
  int64_t step = 0;  ///< after how many steps the run went on with the new value
  std::string option;
  std::string before;
  std::string after;
};

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
  std::vector<OptionChange> changes;  ///< of all resumptions, in order
  double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

/// What changes from step to step of a training run, besides the tensors.
struct TrainState {
  TrainOutcome outcome;
  std::optional<double> best;  ///< lowest validation loss so far
  int64_t worse = 0;           ///< validations since then
  int64_t judged_step = -1;    ///< the last step whose validation, where it is due, is done
  int64_t logged_step = -1;    ///< the last step whose line is in the log
  double last_loss = std::numeric_limits<double>::quiet_NaN();
  double last_norm = 0;
  double last_rate = 0;
  LossSums last_sums;
  std::vector<double> losses;  ///< objective per target of every step done
  /// The options that a resumed run may change, as JSON text by name.
  std::map<std::string, std::string> settings;
};

/// A folder with the state of an unfinished run: state-N.tensors (values, then the optimiser's
/// states) and state.json, which names it and is replaced last, so that a killed process or a power
/// failure leaves the state before or the state after, never half of one; best-N.tensors: the best
/// values so far. A state is proven once another step's loss and gradients have come out finite
/// with it. One that is not is kept beside the last proven one.
class TrainStateFolder {
 public:
  /// An empty path: nothing is saved, the best values are kept in RAM.
  explicit TrainStateFolder(std::string path) : path_(std::move(path)) {}

  /// Replaces what is there, but for the proven state where the new one is not. Throws Io; Numeric
  /// where a value or an optimiser's state is not finite (what is there then stays).
  void save(const TrainState& state, const Optimizer& optimizer, bool proven);
  /// Copies values and states back; nothing where no state was saved. Throws Corrupt, and where the
  /// state is of a version of Prunus that wrote other files.
  std::optional<TrainState> restore(Optimizer& optimizer);
  /// Whether a proven state is on the disk, as far as this process has seen.
  bool proven() const { return proven_; }
  /// After numbers that are not finite: only the proven state stays, if there is one. Returns the
  /// step of the state that stays; nothing where there is none.
  std::optional<int64_t> go_back();

  void keep_best(const Optimizer& optimizer, int64_t step);
  /// Copies the best values back. Throws NotFound, Corrupt.
  void load_best(const Optimizer& optimizer, int64_t step) const;

  const std::string& path() const { return path_; }
  static bool holds_state(const std::string& path);

 private:
  std::string best_file(int64_t step) const;
  void write(const Json& json) const;
  void remove_unnamed(std::set<std::string> named) const;

  std::string path_;
  std::vector<at::Tensor> best_;
  bool proven_ = false;
};

/// WorkFolder::Options::is_state for a folder that holds a TrainState.
bool is_training_state(const std::string& file_name);

}  // namespace prunus
