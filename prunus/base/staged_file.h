#pragma once
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/file_lock.h"

namespace prunus {

/// A result that is one file, with records beside it, that appears under its name complete or not
/// at all. Until commit() everything lies in "<path>.partial/out", beside a lock that keeps a
/// second run off the same output. What is called NAME there stands beside the result afterwards:
/// run.json of small.gguf as small.run.json. Folders in it are not taken over.
class StagedFile {
 public:
  struct Options {
    std::string path = {};
    bool replace = false;  ///< a file of this name, and records beside it, may stand there
    std::vector<std::string> inputs =
        {};  ///< files and directories the run reads; empty names: none
  };
  /// Throws InvalidArgument: `path` is empty, a directory or an input; it exists, or a record
  /// beside it does, and `replace` is not given; another run is writing it. Io where the staging
  /// folder cannot be made.
  explicit StagedFile(Options options);
  /// Without commit: removes what was staged.
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  /// The folder to write in until commit().
  const std::string& staging_path() const { return staging_; }
  /// The result itself, in that folder.
  std::string file_path() const;
  /// Flushes every file to the disk and gives them their names, the result last; records
  /// alone where there is no result.
  /// Throws Io, InvalidArgument.
  void commit();

  /// Where a record of a result is: ("out/small.gguf", "run.json") → "out/small.run.json".
  static std::string beside(const std::string& path, const std::string& name);

 private:
  void check_place() const;
  void clean_up();

  std::string path_;
  bool replace_;
  std::string holder_;   // PATH.partial
  std::string staging_;  // PATH.partial/out
  std::optional<FileLock> lock_;
};

}  // namespace prunus
