#include "prunus/text/text_file.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/text/utf8.h"

namespace prunus {
namespace {

constexpr std::string_view kBlank = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text;
}

// The next line that is not blank, from `at` on; empty at the end. `number` counts the lines
// passed, so that it is the line's own afterwards.
std::string_view next_line(std::string_view content, size_t& at, int64_t& number) {
  while (at < content.size()) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = content.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(kBlank) != line.npos) return line;
  }
  return {};
}

bool named_json(std::string path) {
  std::transform(path.begin(), path.end(), path.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view packed : {".gz", ".zst"}) {
    if (path.ends_with(packed)) path.erase(path.size() - packed.size());
  }
  return path.ends_with(".jsonl") || path.ends_with(".ndjson") || path.ends_with(".json");
}

bool is_object(std::string_view line) {
  const Json value = Json::parse(line.begin(), line.end(), nullptr, false);
  return value.is_object();
}

TextFormat format_of(const std::string& content, const std::string& path) {
  const std::string_view text = without_blanks(content);
  const std::string_view inside = without_blanks(text.substr(std::min<size_t>(1, text.size())));
  const bool named = named_json(path);
  if (text.starts_with('[') && (named || inside.starts_with('{'))) return TextFormat::JsonArray;
  if (named) return TextFormat::JsonLines;
  if (!text.starts_with('{')) return TextFormat::Plain;
  size_t at = 0;
  int64_t number = 0;
  if (is_object(next_line(content, at, number))) return TextFormat::JsonLines;
  PRUNUS_CHECK(!inside.starts_with('"'), Corrupt, path, ": line ", number,
               ": begins like JSON but is no JSON object; in JSON lines each object stands on one "
               "line of its own (jq -c . FILE makes them so)");
  return TextFormat::Plain;
}

void check_text(const TextFile& file) {
  PRUNUS_CHECK(file.bytes > 0, Corrupt, file.path,
               ": holds no text: it is empty, or a pipe that was read before");
  const auto bad = text::first_invalid_utf8(file.content);
  PRUNUS_CHECK(!bad, Corrupt, file.path, ": not valid UTF-8 at byte ", *bad,
               file.compression == text::Compression::None ? "" : " of what it holds",
               "; a binary file, or text in another encoding (iconv -f latin1 -t UTF-8)?");
}

void for_each_line(const TextFile& file, const TakeRecord& take) {
  Progress progress("read: bytes", static_cast<int64_t>(file.content.size()));
  size_t at = 0, before = 0;
  int64_t number = 0;
  for (auto line = next_line(file.content, at, number); !line.empty();
       line = next_line(file.content, at, number)) {
    const std::string where = c10::str(file.path, ": line ", number);
    take(parse_json(line, where), where);
    progress.step(static_cast<int64_t>(at - before));
    before = at;
  }
}

void for_each_element(const TextFile& file, const TakeRecord& take) {
  const Json records = parse_json(file.content, file.path);
  Progress progress("read: records", static_cast<int64_t>(records.size()));
  size_t number = 0;
  for (const Json& record : records) {
    take(record, c10::str(file.path, ": record ", ++number));
    progress.step();
  }
}

}  // namespace

TextFile read_text_file(const std::string& path) {
  TextFile file;
  file.path = path;
  file.content = read_file(path);
  file.bytes = file.content.size();
  file.sha256 = sha256(file.content);
  file.compression = text::compression_of(file.content, path);
  if (file.compression != text::Compression::None) {
    file.content = text::decompress(file.content, file.compression, path);
    PRUNUS_CHECK(text::compression_of(file.content, path) == text::Compression::None, Unsupported,
                 path, ": packed twice; unpack it once");
  }
  check_text(file);
  if (file.content.starts_with(kByteOrderMark)) file.content.erase(0, kByteOrderMark.size());
  file.format = format_of(file.content, path);
  return file;
}

void for_each_record(const TextFile& file, const TakeRecord& take) {
  TORCH_INTERNAL_ASSERT(file.is_json());
  (file.format == TextFormat::JsonLines ? for_each_line : for_each_element)(file, take);
}

Json first_record(const TextFile& file) {
  if (file.format == TextFormat::JsonArray) {
    const Json records = parse_json(file.content, file.path);
    return records.empty() ? Json() : records.front();
  }
  size_t at = 0;
  int64_t number = 0;
  const std::string_view line = next_line(file.content, at, number);
  return line.empty() ? Json() : parse_json(line, c10::str(file.path, ": line ", number));
}

std::string_view format_name(TextFormat format) {
  if (format == TextFormat::JsonLines) return "json lines";
  return format == TextFormat::JsonArray ? "json array" : "plain";
}

Json describe(const TextFile& file) {
  return {{"file", file.path},
          {"sha256", file.sha256},
          {"bytes", file.bytes},
          {"format", format_name(file.format)},
          {"compression", compression_name(file.compression)}};
}

std::shared_ptr<const TextFile> TextFiles::open(const std::string& path) {
  auto& file = files_[path];
  if (file == nullptr) file = std::make_shared<const TextFile>(read_text_file(path));
  return file;
}

}  // namespace prunus
