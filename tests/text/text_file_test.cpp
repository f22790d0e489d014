#include "prunus/text/text_file.h"

#include <cstdio>
#include <sys/stat.h>
#include <thread>
#include <zlib.h>
#include <zstd.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/text/dataset.h"

#include "fixture.h"

namespace prunus::text_file_test {
namespace {

using testing::ElementsAre;
using text::expect_error;
using text::TestDirectory;

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string zstd(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

TextFormat format_of(const std::string& name, const std::string& content) {
  const TestDirectory dir;
  return read_text_file(dir.write(name, content)).format;
}

TEST(ReadTextFile, TellsJsonFromProseByContent) {
  for (const char* name : {"a.txt", "a", "a.JSONL", "a.dat"}) {
    EXPECT_EQ(format_of(name, "\n {\"text\": \"a\"}\n{\"text\": \"b\"}"), TextFormat::JsonLines);
    EXPECT_EQ(format_of(name, "\n[\n {\"text\": \"a\"}]"), TextFormat::JsonArray);
  }
  for (const char* prose : {"{{Infobox town}}\n", "{ x : x > 0 } is a set", "[Music] la la",
                            "[[link]]", "{", "[", "one\n{\"text\": \"a\"}"}) {
    EXPECT_EQ(format_of("a.txt", prose), TextFormat::Plain) << prose;
  }
}

TEST(ReadTextFile, TakesANameThatSaysJsonAtItsWord) {
  for (const char* name : {"a.jsonl", "a.NDJSON", "a.Json", "a.jsonl.gz", "a.json.ZST"}) {
    EXPECT_EQ(format_of(name, "prose"), TextFormat::JsonLines) << name;
    EXPECT_EQ(format_of(name, "[1]"), TextFormat::JsonArray) << name;
  }
}

TEST(ReadTextFile, RefusesWhatBeginsLikeJsonLinesAndIsNone) {
  const TestDirectory dir;
  expect_error(ErrorKind::Corrupt, "line 2: begins like JSON",
               [&] { read_text_file(dir.write("a.txt", "\n{\"text\": \"cut sh")); });
  expect_error(ErrorKind::Corrupt, "jq -c",
               [&] { read_text_file(dir.write("a", "{\n  \"text\": \"a\"\n}\n")); });
}

TEST(ReadTextFile, UnpacksGzipAndZstdWhateverTheName) {
  const TestDirectory dir;
  const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  for (const std::string& packed :
       {gzip(lines), zstd(lines), gzip(lines.substr(0, 9)) + gzip(lines.substr(9)),
        zstd(lines.substr(0, 9)) + zstd(lines.substr(9))}) {
    const TextFile file = read_text_file(dir.write("a.txt", packed));
    EXPECT_EQ(file.content, lines);
    EXPECT_EQ(file.sha256, sha256(packed));
    EXPECT_EQ(file.bytes, packed.size());
    EXPECT_THAT(documents_of(file), ElementsAre("one", "two"));
  }
  EXPECT_EQ(describe(read_text_file(dir.write("a", zstd("x")))).at("compression"), "zstd");
  EXPECT_EQ(read_text_file(dir.write("b", gzip("long ") + gzip(std::string(3 << 20, 'x')))).content,
            "long " + std::string(3 << 20, 'x'));
}

TEST(ReadTextFile, RefusesEveryTruncationOfPackedText) {
  const TestDirectory dir;
  for (const std::string& packed : {gzip("some text, some more"), zstd("some text, some more")}) {
    for (size_t length = 4; length < packed.size(); ++length) {
      const std::string path = dir.write("a", packed.substr(0, length));
      EXPECT_THROW(read_text_file(path), Error) << length << " of " << packed.size();
    }
  }
  const std::string packed = gzip("some text");
  expect_error(ErrorKind::Corrupt, "end too early",
               [&] { read_text_file(dir.write("a", packed.substr(0, packed.size() - 1))); });
}

TEST(ReadTextFile, RefusesDamageAndWhatFollows) {
  const TestDirectory dir;
  std::string packed = gzip("some text that is long enough to be damaged in the middle");
  expect_error(ErrorKind::Corrupt, "4 bytes that are not gzip follow",
               [&] { read_text_file(dir.write("a", packed + "junk")); });
  packed[packed.size() - 6] ^= 1;  // the check sum
  expect_error(ErrorKind::Corrupt, "damaged gzip", [&] { read_text_file(dir.write("a", packed)); });
  expect_error(ErrorKind::Corrupt, "zstd",
               [&] { read_text_file(dir.write("a", zstd("some text") + "junk")); });
}

TEST(ReadTextFile, RefusesABomb) {
  const TestDirectory dir;
  const std::string zeros(size_t{70} << 20, ' ');
  for (const std::string& packed : {gzip(zeros), zstd(zeros)}) {
    expect_error(ErrorKind::Corrupt, "no text is compressed that well",
                 [&] { read_text_file(dir.write("a", packed)); });
  }
}

TEST(ReadTextFile, SaysWhatToDoWithOtherFiles) {
  const TestDirectory dir;
  const auto refused = [&](const std::string& content, const char* part) {
    expect_error(ErrorKind::Unsupported, part, [&] { read_text_file(dir.write("a", content)); });
  };
  refused("PAR1\x15\x04", "parquet");
  refused("BZh91AY", "bzcat");
  refused(std::string("\xFD\x37zXZ\0\0", 7), "xzcat");
  refused("PK\x03\x04...", "zip");
  refused("\xFF\xFEh\0", "iconv -f UTF-16");
  refused(gzip(gzip("a")), "packed twice");
}

TEST(ReadTextFile, DropsAByteOrderMarkAndNamesInvalidUtf8) {
  EXPECT_EQ(format_of("a", "\xEF\xBB\xBF{\"text\": \"a\"}"), TextFormat::JsonLines);
  const TestDirectory dir;
  EXPECT_EQ(read_text_file(dir.write("a", "\xEF\xBB\xBFone")).content, "one");
  expect_error(ErrorKind::Corrupt, "byte 2", [&] { read_text_file(dir.write("a", "ab\xC0")); });
  expect_error(ErrorKind::Corrupt, "byte 2 of what it holds",
               [&] { read_text_file(dir.write("a", gzip("ab\xC0"))); });
  expect_error(ErrorKind::Corrupt, "holds no text", [&] { read_text_file(dir.write("a", "")); });
  expect_error(ErrorKind::NotFound, "none", [&] { read_text_file(dir.path() + "/none"); });
}

TEST(TextFiles, ReadsAPipeOnceAndRemembersItsHash) {
  const TestDirectory dir;
  const std::string path = dir.path() + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] {
    std::FILE* pipe = std::fopen(path.c_str(), "w");
    std::fputs("{\"text\": \"one\"}\n", pipe);
    std::fclose(pipe);
  });
  TextFiles files;
  const auto first = files.open(path);
  writer.join();
  EXPECT_EQ(first->sha256, sha256("{\"text\": \"one\"}\n"));
  EXPECT_EQ(files.open(path), first);
  EXPECT_EQ(first->format, TextFormat::JsonLines);
}

}  // namespace
}  // namespace prunus::text_file_test
