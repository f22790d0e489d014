#pragma once
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/file_lock.h"

namespace prunus {

/// An output directory that appears under its name complete or not at all.
///
/// Until commit() everything lies in "<path>.partial/out", beside a lock that keeps a second run
/// off the same output. Where `path` is an empty directory that cannot be replaced by a rename (a
/// mount point, or a parent that may not be written), the folder is "<path>/.prunus-partial" and
/// commit() moves the files up, config.json and run.json last; a commit that was killed is finished
/// by the next run on this path. A link to a directory stands for that directory.
///
/// An earlier result is replaced only on request, and only where its run.json (of format
/// "prunus-run") lists every file in it under "files": a directory with anything else in it, or
/// with an input of the run, is nobody's to delete.
class StagedDirectory {
 public:
  struct Options {
    std::string path = {};
    bool replace = false;  ///< an earlier result may stand there
    std::vector<std::string> inputs =
        {};  ///< files and directories the run reads; empty names: none
  };
  /// Throws InvalidArgument: `path` is empty, is, holds or lies in an input; it exists and is
  /// neither an empty directory nor a result that `replace` allows to go; another run is writing to
  /// it. Io where the staging folder cannot be made.
  explicit StagedDirectory(Options options);
  /// Without commit: removes what was staged, and parent directories that had to be made for it.
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  /// Where to write until commit().
  const std::string& staging_path() const { return staging_; }
  /// Flushes every file to the disk and gives the directory its name; what stood there before is
  /// removed only afterwards. Throws Io or InvalidArgument where that fails: the finished result is
  /// then kept under another name, which the message tells.
  void commit();

 private:
  void check_place();
  void choose_holder();
  void take_lock();
  void prepare();
  void put_in_place();
  void swap_in_two_steps();
  void move_up();
  void clean_up();
  std::string rescue();

  std::string path_;
  bool replace_;
  bool in_place_ = false;  // the holder lies in path_
  std::string holder_;     // OUT.partial or OUT/.prunus-partial
  std::string staging_;
  std::vector<std::string> made_parents_;  // innermost first
  std::optional<FileLock> lock_;
};

}  // namespace prunus
