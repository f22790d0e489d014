#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prunus/base/file_lock.h"

namespace prunus {

/// A file that an option asks for, such as --out report.json. Empty path: none is asked for.
struct OutputFile {
  std::string option;
  std::string path;
};

/// What can be known before the work: the folder is there, can be written and has room; a file of
/// this name is not there, or `force` is given; it is a regular file, not a folder or device; it is
/// none of `inputs` (paths that are read), and no file of a folder among them is replaced; no two
/// outputs are one file.
/// Throws InvalidArgument; Io where the system refuses.
void check_outputs(const std::vector<OutputFile>& outputs, const std::vector<std::string>& inputs,
                   bool force);

/// Writes the file where one is asked for, complete or not at all. A symbolic link stays one: what
/// it points to is replaced. Throws Io.
void write_output(const OutputFile& output, std::string_view content);

/// Keeps a second run off the same files: "<path>.lock" for each, removed at the end. Throws
/// InvalidArgument where another process holds one; Io.
class OutputLock {
 public:
  explicit OutputLock(const std::vector<OutputFile>& outputs);
  ~OutputLock();
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;

 private:
  void release();
  std::vector<std::pair<std::string, FileLock>> locks_;
};

}  // namespace prunus
