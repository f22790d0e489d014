#include "prunus/base/file_lock.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"

namespace prunus::file_lock_test {
namespace {

namespace fs = std::filesystem;

class FileLockTest : public ::testing::Test {
 protected:
  FileLockTest() {
    std::string name = (fs::temp_directory_path() / "prunus-lock-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
  }
  ~FileLockTest() override {
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }
  std::string at(const char* name) const { return dir_ + "/" + name; }
  std::string dir_;
};

TEST_F(FileLockTest, IsHeldByOneAtATime) {
  auto first = FileLock::take(at("lock"));
  ASSERT_TRUE(first);
  EXPECT_FALSE(FileLock::take(at("lock")));
  EXPECT_EQ(FileLock::holder(at("lock")).find(c10::str("process ", ::getpid(), " on ")), 0U);
  first.reset();
  EXPECT_TRUE(FileLock::take(at("lock")));
}

TEST_F(FileLockTest, OfAKilledProcessIsFree) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = FileLock::take(at("lock"));
    const auto named = FileLock::take_by_name(at("named"));
    ::_exit(lock && named ? 0 : 1);  // as a kill: no destructor runs
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(FileLock::take(at("lock")));
  EXPECT_TRUE(fs::exists(at("named.held")));
  EXPECT_TRUE(FileLock::take_by_name(at("named")));
}

TEST_F(FileLockTest, ByNameIsHeldByOneAtATimeAndLeavesNothing) {
  auto first = FileLock::take_by_name(at("lock"));
  ASSERT_TRUE(first);
  EXPECT_FALSE(FileLock::take_by_name(at("lock")));
  first.reset();
  EXPECT_FALSE(fs::exists(at("lock.held")));
}

TEST_F(FileLockTest, ByNameOfAnotherHostIsNeverTakenOver) {
  write_file(at("lock.held"), "1 another-host\n");
  EXPECT_FALSE(FileLock::take_by_name(at("lock")));
  EXPECT_EQ(FileLock::holder(at("lock")), "process 1 on another-host");
  write_file(at("lock.held"), "who knows");
  EXPECT_FALSE(FileLock::take_by_name(at("lock")));
  EXPECT_EQ(FileLock::holder(at("lock")), "another process");
}

TEST_F(FileLockTest, MakesItsFolderAndSaysWhereItCannot) {
  EXPECT_TRUE(FileLock::take_in(at("a/b")));
  EXPECT_TRUE(fs::exists(at("a/b/lock")));
  EXPECT_THROW(FileLock::take(at("none/lock")), Error);
  EXPECT_THROW(FileLock::take_in(at("a/b/lock")), Error);
}

// Each takes the folder, says so in it, and removes it: the lock must never be of two.
TEST_F(FileLockTest, SurvivesOwnersThatRemoveTheFolder) {
  constexpr int kChildren = 4;
  for (int i = 0; i < kChildren; ++i) {
    if (::fork() != 0) continue;
    int bad = 0;
    try {
      for (int taken = 0, tries = 0; taken < 50 && tries < 1'000'000; ++tries) {
        auto lock = FileLock::take_in(at("folder"));
        if (!lock) continue;
        ++taken;
        if (::mkdir(at("alone").c_str(), 0755) != 0) bad = 1;
        ::rmdir(at("alone").c_str());
        ::unlink(at("folder/lock").c_str());
        lock.reset();
        ::rmdir(at("folder").c_str());
      }
    } catch (const Error& error) {
      std::cerr << error.what() << "\n";
      bad = 2;
    }
    ::_exit(bad);
  }
  for (int i = 0; i < kChildren; ++i) {
    int status = 0;
    ::wait(&status);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace prunus::file_lock_test
