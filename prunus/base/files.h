#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prunus {

/// Whole content of a file. Throws NotFound, Io, or Corrupt where it exceeds `max_bytes`.
std::string read_file(const std::string& path, uint64_t max_bytes = uint64_t{1} << 40);

/// Writes `content` under a temporary name in the same folder, syncs, renames over `path`.
/// Throws Io (the temporary file is removed).
void write_file(const std::string& path, std::string_view content);

/// SHA-256 of a file in lower-case hexadecimal, read in pieces (constant memory).
std::string sha256_file(const std::string& path);

/// SHA-256 of a byte string in lower-case hexadecimal.
std::string sha256(std::string_view bytes);

/// A directory that appears under its final name only when commit() is called.
/// Until then everything lives in a sibling named "<path>.partial-<pid>", removed by the destructor
/// together with the parent directories that had to be made for it. What a killed process left
/// under such a name is removed by the next one.
class StagedDirectory {
 public:
  /// Throws InvalidArgument where `path` is empty, and where it exists, is not an empty directory
  /// and `replace` is false;
  /// Io where the sibling cannot be made.
  StagedDirectory(std::string path, bool replace);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  /// Where to write until commit().
  const std::string& staging_path() const { return staging_; }
  /// Renames to the final path; what stood there before is removed only afterwards. Throws Io.
  void commit();

 private:
  std::string path_;
  std::string staging_;
  std::vector<std::string> made_parents_;  // innermost first
  bool replace_;
  bool committed_ = false;
};

}  // namespace prunus
