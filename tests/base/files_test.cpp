#include "prunus/base/files.h"

#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "prunus/base/error.h"

namespace prunus::files_test {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  Files() {
    std::string name = (fs::temp_directory_path() / "prunus-base-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
  }
  ~Files() override {
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }
  std::string at(const char* name) const { return dir_ + "/" + name; }
  size_t count() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  template <typename Action>
  static ErrorKind kind_of(Action action) {
    try {
      action();
    } catch (const Error& error) {
      return error.kind();
    }
    ADD_FAILURE() << "nothing was thrown";
    return ErrorKind::Interrupted;
  }
  std::string dir_;
};

TEST_F(Files, WhatIsWrittenIsReadBack) {
  std::string bytes("a\0\n", 3);
  bytes.append(200'000, 'x');
  write_file(at("f"), bytes);
  EXPECT_EQ(read_file(at("f")), bytes);
  write_file(at("f"), "");
  EXPECT_EQ(read_file(at("f")), "");
  EXPECT_EQ(count(), 1);  // no temporary file stays
}

TEST_F(Files, ReadingReportsWhatIsMissingOrTooLarge) {
  EXPECT_EQ(kind_of([&] { read_file(at("none")); }), ErrorKind::NotFound);
  EXPECT_EQ(kind_of([&] { read_file(dir_); }), ErrorKind::NotFound);
  write_file(at("f"), "12345");
  EXPECT_EQ(read_file(at("f"), 5), "12345");
  EXPECT_EQ(kind_of([&] { read_file(at("f"), 4); }), ErrorKind::Corrupt);
  EXPECT_EQ(kind_of([&] { read_file("/dev/zero", 100'000); }), ErrorKind::Corrupt);
}

TEST_F(Files, WritingIntoNowhereIsAnIoErrorAndLeavesNothing) {
  EXPECT_EQ(kind_of([&] { write_file(at("none/f"), "x"); }), ErrorKind::Io);
  fs::create_directory(at("taken"));
  fs::create_directory(at("taken/inside"));
  EXPECT_EQ(kind_of([&] { write_file(at("taken"), "x"); }), ErrorKind::Io);
  EXPECT_EQ(count(), 1);
}

TEST_F(Files, HashesAreThoseOfTheStandard) {
  // FIPS 180-2, appendix B.1.
  const char* abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(sha256("abc"), abc);
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  write_file(at("f"), "abc");
  EXPECT_EQ(sha256_file(at("f")), abc);
  EXPECT_EQ(kind_of([&] { sha256_file(at("none")); }), ErrorKind::NotFound);
}

TEST_F(Files, SyncingATreeReachesEveryFileAndFailsWhereNothingIs) {
  fs::create_directories(at("a/b"));
  write_file(at("a/b/f"), "x");
  sync_tree(at("a"));
  EXPECT_EQ(kind_of([&] { sync_tree(at("none")); }), ErrorKind::Io);
  EXPECT_EQ(kind_of([&] { sync_path(at("none")); }), ErrorKind::Io);
}

TEST_F(Files, SpaceIsAskedForBeforeTheWork) {
  require_space(at("not/there/yet"), 1, "nothing");
  EXPECT_EQ(kind_of([&] { require_space(at("not/there/yet"), uint64_t{1} << 62, "all"); }),
            ErrorKind::Io);
}

}  // namespace
}  // namespace prunus::files_test
