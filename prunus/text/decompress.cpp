#include "prunus/text/decompress.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <zlib.h>
#include <zstd.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"

namespace prunus::text {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kMostInput = size_t{1} << 30;
constexpr size_t kFreeBytes = size_t{64} << 20;
constexpr size_t kMostRatio = 200;

using namespace std::string_view_literals;

struct Mark {
  std::string_view bytes;
  std::string_view what;
  std::string_view advice;
};

constexpr Mark kRefused[] = {
    {"PAR1"sv, "a parquet file",
     "write it as JSON lines (pandas: read_parquet, then to_json with "
     "orient='records' and lines=True)"},
    {"ARROW1"sv, "an arrow file", "write it as JSON lines (datasets: to_json)"},
    {"BZh"sv, "bzip2", "pass what bzcat gives: <(bzcat FILE)"},
    {"\xFD\x37zXZ\0"sv, "xz", "pass what xzcat gives: <(xzcat FILE)"},
    {"PK\x03\x04"sv, "a zip archive", "unpack it"},
    {"\xFF\xFE"sv, "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"},
    {"\xFE\xFF"sv, "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"},
};

// Collects what is unpacked and refuses a bomb.
class Output {
 public:
  Output(size_t packed, const std::string& where)
      : most_(std::max(kFreeBytes, packed * kMostRatio)), packed_(packed), where_(where) {}

  void add(const char* bytes, size_t count) {
    PRUNUS_CHECK(
        text_.size() + count <= most_, Corrupt, where_, ": ", packed_,
        " compressed bytes hold more than ", most_,
        "; no text is compressed that well; if it is meant, unpack the file and pass that");
    text_.append(bytes, count);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  size_t most_;
  size_t packed_;
  const std::string& where_;
};

struct Inflater {
  z_stream stream{};
  Inflater() {
    // 16: a gzip header, and nothing else, is expected.
    const int code = inflateInit2(&stream, 15 + 16);
    PRUNUS_CHECK(code == Z_OK, Io, "zlib: cannot begin: code ", code);
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

// One member from `at` on; gives where it ends.
size_t gunzip_member(std::string_view bytes, size_t at, Output& output, const std::string& where) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  std::string piece(kPieceBytes, '\0');
  size_t given = at;
  bool full = false;  // then zlib may hold more, without new input
  for (int code = Z_OK; code != Z_STREAM_END;) {
    check_interrupted();
    if (stream.avail_in == 0 && !full) {
      PRUNUS_CHECK(given < bytes.size(), Corrupt, where, ": the gzip data end too early, after ",
                   bytes.size(), " bytes; incomplete download?");
      const size_t count = std::min(bytes.size() - given, kMostInput);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + given));
      stream.avail_in = static_cast<uInt>(count);
      given += count;
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    code = inflate(&stream, Z_NO_FLUSH);
    PRUNUS_CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR, Corrupt, where,
                 ": damaged gzip data near byte ", given - stream.avail_in, ": ",
                 stream.msg != nullptr ? stream.msg : "unknown", "; incomplete download?");
    output.add(piece.data(), piece.size() - stream.avail_out);
    full = stream.avail_out == 0;
  }
  return given - stream.avail_in;
}

void gunzip(std::string_view bytes, Output& output, const std::string& where) {
  for (size_t at = 0; at < bytes.size();) {
    PRUNUS_CHECK(bytes.substr(at).starts_with("\x1F\x8B"), Corrupt, where, ": ", bytes.size() - at,
                 " bytes that are not gzip follow the data at byte ", at,
                 "; damaged or appended to?");
    at = gunzip_member(bytes, at, output, where);
  }
}

void check_zstd(size_t code, size_t at, const std::string& where) {
  if (ZSTD_isError(code) == 0) return;
  const std::string name = ZSTD_getErrorName(code);
  PRUNUS_CHECK(name.find("too much memory") == std::string::npos, Unsupported, where,
               ": compressed with a window above 128 MiB (zstd --long); compress it without, or "
               "pass what zstd -dc --long=31 gives");
  PRUNUS_FAIL(Corrupt, where, ": damaged zstd data, or other bytes after it, near byte ", at, ": ",
              name, "; incomplete download?");
}

void unzstd(std::string_view bytes, Output& output, const std::string& where) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                     &ZSTD_freeDCtx);
  PRUNUS_CHECK(context != nullptr, Io, "zstd: out of memory");
  std::string piece(kPieceBytes, '\0');
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  size_t left = 1;
  bool filled = false;
  while (in.pos < in.size || (left != 0 && filled)) {
    check_interrupted();
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(context.get(), &out, &in);
    check_zstd(left, in.pos, where);
    output.add(piece.data(), out.pos);
    filled = out.pos == out.size;
  }
  PRUNUS_CHECK(left == 0, Corrupt, where, ": the zstd data end too early, after ", bytes.size(),
               " bytes; incomplete download?");
}

}  // namespace

Compression compression_of(std::string_view bytes, const std::string& where) {
  for (const Mark& mark : kRefused) {
    PRUNUS_CHECK(!bytes.starts_with(mark.bytes), Unsupported, where, ": is ", mark.what,
                 ", expected UTF-8 text, plain or packed by gzip or zstd; ", mark.advice);
  }
  if (bytes.starts_with("\x1F\x8B")) return Compression::Gzip;
  const bool skippable = bytes.size() >= 4 && (static_cast<uint8_t>(bytes[0]) & 0xF0) == 0x50 &&
                         bytes.substr(1).starts_with("\x2A\x4D\x18");
  if (bytes.starts_with("\x28\xB5\x2F\xFD") || skippable) return Compression::Zstd;
  return Compression::None;
}

std::string decompress(std::string_view bytes, Compression compression, const std::string& where) {
  if (compression == Compression::None) return std::string(bytes);
  Output output(bytes.size(), where);
  (compression == Compression::Gzip ? gunzip : unzstd)(bytes, output, where);
  return output.take();
}

std::string_view compression_name(Compression compression) {
  if (compression == Compression::Gzip) return "gzip";
  return compression == Compression::Zstd ? "zstd" : "none";
}

}  // namespace prunus::text
