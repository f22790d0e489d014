#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "prunus/base/json.h"
#include "prunus/text/decompress.h"

namespace prunus {

/// What a text file holds.
enum class TextFormat {
  Plain,      ///< one text
  JsonLines,  ///< one JSON object a line, blank lines skipped
  JsonArray,  ///< one JSON array of objects
};

/// A file of text as it was read, once: from a disk, a pipe or /dev/stdin, packed by gzip or zstd
/// or not.
struct TextFile {
  std::string path;
  std::string content;  ///< unpacked; valid UTF-8 without a byte order mark
  std::string sha256;   ///< of the bytes that were read, before unpacking
  uint64_t bytes = 0;   ///< number of those
  text::Compression compression = text::Compression::None;
  TextFormat format = TextFormat::Plain;

  bool is_json() const { return format != TextFormat::Plain; }
};

/// Reads a file. The content decides what it is, as docs/formats/calibration.md says: JSON lines
/// where the first line that is not blank begins with an object, a JSON array where '[' and '{'
/// come first, else plain text. A name that ends in .jsonl, .ndjson or .json (upper or lower case,
/// .gz or .zst behind it) says that it is JSON, so that a broken first line is an error.
/// Throws NotFound, Io; Unsupported for a packing that is not read; Corrupt for damaged packing,
/// a bomb, invalid UTF-8 (the byte offset is named), no content at all, and a text that begins like
/// JSON ('{' and then '"') but whose first line is none.
TextFile read_text_file(const std::string& path);

/// Takes a record and where it stands, as "file: line 3" or "file: record 3".
using TakeRecord = std::function<void(const Json& record, const std::string& where)>;

/// Each record of a JSON file in order. Throws Corrupt naming the line that is no JSON; what `take`
/// throws; Interrupted.
void for_each_record(const TextFile& file, const TakeRecord& take);

/// The first record, null where there is none. Throws Corrupt.
Json first_record(const TextFile& file);

/// "plain", "json lines", "json array".
std::string_view format_name(TextFormat format);

/// What run.json says of a file: file, sha256 and bytes as read, format, compression.
Json describe(const TextFile& file);

/// The texts of a run, each file read once however often it is asked for: a pipe gives its bytes
/// only once, and a file may change.
class TextFiles {
 public:
  /// Throws as read_text_file.
  std::shared_ptr<const TextFile> open(const std::string& path);
  /// Frees what open() keeps. The next open() reads anew.
  void forget() { files_.clear(); }

 private:
  std::map<std::string, std::shared_ptr<const TextFile>> files_;
};

}  // namespace prunus
