#include "prunus/io/mapped_file.h"

#include <numeric>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/io/fixture.h"

namespace prunus::mapped_file_test {
namespace {

using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::put;
using testing_io::TempDir;

// File-backed resident memory of this process in bytes, or -1 where the kernel does not tell.
int64_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8)) * 1024;
  }
  return -1;
}

int64_t sum(std::span<const std::byte> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0}, [](int64_t total, std::byte b) {
    return total + std::to_integer<int64_t>(b);
  });
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TempDir dir;
  const auto file = MappedFile::open(put(dir / "f", std::string("ab\0c", 4)));
  EXPECT_EQ(file.path(), dir / "f");
  EXPECT_EQ(file.size_bytes(), 4);
  ASSERT_EQ(file.bytes().size(), 4);
  EXPECT_EQ(file.bytes()[3], std::byte{'c'});
}

TEST(MappedFile, AcceptsAnEmptyFile) {
  const TempDir dir;
  const auto file = MappedFile::open(put(dir / "f", ""));
  EXPECT_EQ(file.size_bytes(), 0);
  EXPECT_TRUE(file.bytes().empty());
  file.prefetch(0, 10);
  file.discard(0, 10);
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  EXPECT_EQ(error_of([&] { MappedFile::open(dir / "none"); }).kind(), ErrorKind::NotFound);
  const auto file = put(dir / "f", "x");
  EXPECT_EQ(error_of([&] { MappedFile::open(file + "/x"); }).kind(), ErrorKind::NotFound);
  EXPECT_EQ(error_of([&] { MappedFile::open(dir.path()); }).kind(), ErrorKind::Io);
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  const auto error = error_of([&] { MappedFile::open(dir / "pipe"); });  // and does not hang
  EXPECT_THAT(error.what(), HasSubstr("not a regular file"));
}

TEST(MappedFile, MovesWithoutMapping) {
  const TempDir dir;
  auto first = MappedFile::open(put(dir / "f", "first"));
  const auto* address = first.bytes().data();
  MappedFile moved(std::move(first));
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_EQ(moved.path(), dir / "f");
  auto second = MappedFile::open(put(dir / "g", "second"));
  second = std::move(moved);
  EXPECT_EQ(second.bytes().data(), address);
  EXPECT_EQ(second.size_bytes(), 5);
}

TEST(MappedFile, TakesAnyRangeAsAdvice) {
  const TempDir dir;
  const auto file = MappedFile::open(put(dir / "f", std::string(10'000, 'x')));
  for (const auto& [begin, end] : {std::pair<uint64_t, uint64_t>{0, 10'000},
                                   {5'000, 5'001},
                                   {9'999, UINT64_MAX},
                                   {UINT64_MAX - 1, UINT64_MAX},
                                   {7, 7},
                                   {8, 7}}) {
    file.prefetch(begin, end);
    file.discard(begin, end);
  }
  EXPECT_EQ(sum(file.bytes()), 10'000 * 'x');
}

TEST(MappedFile, DiscardLowersTheResidentSetAndKeepsTheFileReadable) {
  if (resident_file_bytes() < 0) GTEST_SKIP() << "this kernel does not report RssFile";
  constexpr int64_t kBytes = int64_t{64} << 20;
  constexpr int64_t kSlack = int64_t{8} << 20;  // other mapped files come and go
  const TempDir dir;
  const auto file = MappedFile::open(put(dir / "f", std::string(kBytes, '\1')));
  const int64_t before = resident_file_bytes();
  EXPECT_EQ(sum(file.bytes()), kBytes);
  EXPECT_GT(resident_file_bytes(), before + kBytes - kSlack);
  file.discard(kBytes / 4, kBytes);
  EXPECT_LT(resident_file_bytes(), before + kBytes / 4 + kSlack);
  EXPECT_GT(resident_file_bytes(), before + kBytes / 4 - kSlack);
  file.discard(0, kBytes);
  EXPECT_LT(resident_file_bytes(), before + kSlack);
  EXPECT_EQ(sum(file.bytes()), kBytes);
}

}  // namespace
}  // namespace prunus::mapped_file_test
