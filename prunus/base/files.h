#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace prunus {

/// Whole content of a file. Throws NotFound, Io, or Corrupt where it exceeds `max_bytes`.
std::string read_file(const std::string& path, uint64_t max_bytes = uint64_t{1} << 40);

/// Writes `content` under a temporary name in the same folder, syncs, renames over `path`, syncs
/// the folder. Throws Io (the temporary file is removed).
void write_file(const std::string& path, std::string_view content);

/// SHA-256 of a file in lower-case hexadecimal, read in pieces (constant memory). Throws
/// Interrupted after Ctrl-C.
std::string sha256_file(const std::string& path);

/// SHA-256 of a byte string in lower-case hexadecimal.
std::string sha256(std::string_view bytes);

/// Flushes a file's or directory's content to the disk. Throws Io, unless it is a directory on a
/// file system that cannot (EINVAL).
void sync_path(const std::string& path);

/// Flushes every file and directory below `dir`, and `dir`. Throws Io.
void sync_tree(const std::string& dir);

/// Throws Io where the disk that holds `path`, or its nearest parent that exists, has fewer than
/// `bytes` free: "<what> needs …, … free". Nothing where the system does not tell.
void require_space(const std::string& path, uint64_t bytes, const std::string& what);

}  // namespace prunus
