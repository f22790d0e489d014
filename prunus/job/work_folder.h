#pragma once
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <c10/core/Device.h>

#include "prunus/base/file_lock.h"
#include "prunus/base/json.h"
#include "prunus/job/last_words.h"

namespace prunus {

/// OUT.work, beside OUT or in `work_dir` where that is not empty.
std::string work_path(const std::string& out_dir, const std::string& work_dir);

/// What decides a result besides a command's own options: version, threads, device, and the model's
/// config.json (by hash) and weight files (by size and time). A resumed run must share it.
Json model_identity(const std::string& model_dir, at::Device device);

/// What an interrupted run leaves behind, so that the same command with --resume goes on where it
/// stopped: a folder next to OUT with the job's identity and what the job keeps of its work
/// (docs/formats/work.md). One process at a time: the folder is locked.
class WorkFolder {
 public:
  struct Options {
    std::string path;
    std::string identity;  ///< JSON object of everything that decides the result; compared
    bool resume = false;
    bool force = false;     ///< throw away the state of another interrupted run
    bool resumable = true;  ///< false: only a place to spill to
    /// Whether a file of this name is worth going on from: the job's to say, which put it there.
    bool (*is_state)(const std::string& file_name) = nullptr;
  };
  /// Throws InvalidArgument: the folder holds files of others; another process is at work there; it
  /// holds state and neither resume nor force is given; it is the state of another job (the
  /// differing key is named).
  explicit WorkFolder(Options options);
  /// Removes the folder where it is discarded or holds no state worth going on from.
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  /// The output stands: nothing of the folder is needed any more, it will be removed.
  void discard() { discarded_ = true; }
  bool resumed() const { return resumed_; }
  bool holds_state() const;
  bool resumable() const { return options_.resumable; }
  const std::string& path() const { return options_.path; }

 private:
  void open_or_make();
  void check_identity() const;

  Options options_;
  std::optional<FileLock> lock_;
  bool resumed_ = false;
  bool discarded_ = false;
};

/// with_last_words() of a job with a work folder; `folder` may be null, then or when the job ends.
/// Whatever it throws, the state in the folder stays: only discard() lets it go.
template <typename Work>
auto with_last_words(const std::unique_ptr<WorkFolder>& folder, Work work) {
  const auto kept = [&] {
    return folder != nullptr && folder->holds_state() ? folder->path() : std::string();
  };
  return with_last_words(kept, std::move(work));
}

}  // namespace prunus
