#pragma once
#include <memory>
#include <optional>
#include <string>

#include "prunus/calib/stream_store.h"
#include "prunus/pipeline/prune.h"

namespace prunus {

/// OUT.work, beside OUT or in `work_dir` where that is not empty.
std::string work_path(const std::string& out_dir, const std::string& work_dir);

/// What decides a result besides a command's own options: version, threads, device, and the model's
/// config.json (by hash) and weight files (by size and time). A resumed run must share it.
Json model_identity(const std::string& model_dir, at::Device device);

/// What an interrupted `prunus prune` leaves behind, so that the same command with --resume goes on
/// at the last finished block: a folder next to OUT with the job's identity, the hidden states and
/// gradients of the step under way, and the plans of finished steps (docs/formats/work.md).
/// One process at a time: the folder is locked.
class WorkFolder {
 public:
  struct Options {
    std::string path;
    std::string identity;  ///< JSON object of everything that decides the result; compared
    bool resume = false;
    bool force = false;      ///< throw away the state of another interrupted run
    int64_t ram_bytes = -1;  ///< as StreamStore
    bool resumable = true;   ///< false: only a place to spill to
  };
  /// Throws InvalidArgument: the folder holds files of others; another process is at work there; it
  /// holds state and neither resume nor force is given; it is the state of another job (the
  /// differing key is named).
  explicit WorkFolder(Options options);
  /// Removes the folder unless it holds state worth going on from.
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  /// The same folder as make_plan sees it.
  PlanContext context(std::function<std::vector<TokenBatch>(int64_t)> calibration);
  /// Nothing of it is needed any more: it will be removed.
  void discard() { discarded_ = true; }
  bool resumed() const { return resumed_; }
  bool holds_state() const;
  const std::string& path() const { return options_.path; }

 private:
  void open_or_make();
  void check_identity() const;
  std::string step_path(int64_t step) const;

  // Lets go of the folder also where the constructor throws.
  struct Lock {
    int file = -1;
    ~Lock();
  };

  Options options_;
  Lock lock_;
  bool resumed_ = false;
  bool discarded_ = false;
};

}  // namespace prunus
