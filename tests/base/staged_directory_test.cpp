#include "prunus/base/staged_directory.h"

#include <cstdlib>
#include <filesystem>
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"

namespace prunus::staged_directory_test {
namespace {

namespace fs = std::filesystem;

class StagedDirectoryTest : public ::testing::Test {
 protected:
  StagedDirectoryTest() {
    std::string name = (fs::temp_directory_path() / "prunus-staged-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
  }
  ~StagedDirectoryTest() override {
    std::error_code ignored;
    if (mounted_) ::umount(at("vol").c_str());
    fs::remove_all(dir_, ignored);
  }
  std::string at(const char* name) const { return dir_ + "/" + name; }
  static size_t count(const std::string& dir) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir), {}));
  }
  // A result as a run leaves it: its record names what is there.
  void make_result(const std::string& out, const std::string& content, bool replace = false) const {
    StagedDirectory staged({.path = at(out.c_str()), .replace = replace});
    write_result(staged, content);
    staged.commit();
  }
  static void write_result(const StagedDirectory& staged, const std::string& content) {
    write_file(staged.staging_path() + "/weights", content);
    write_file(staged.staging_path() + "/run.json",
               R"({"format": "prunus-run", "files": ["run.json", "weights"]})");
  }
  std::string error_of(StagedDirectory::Options options,
                       ErrorKind kind = ErrorKind::InvalidArgument) const {
    try {
      const StagedDirectory staged(std::move(options));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }
  bool mount_volume() {
    fs::create_directory(at("vol"));
    mounted_ = ::mount("tmpfs", at("vol").c_str(), "tmpfs", 0, "size=1m") == 0;
    return mounted_;
  }
  std::string dir_;
  bool mounted_ = false;
};

TEST_F(StagedDirectoryTest, AppearsOnlyWithCommit) {
  {
    StagedDirectory staged({.path = at("out/")});
    write_file(staged.staging_path() + "/f", "new");
    EXPECT_FALSE(fs::exists(at("out")));
    staged.commit();
  }
  EXPECT_EQ(read_file(at("out/f")), "new");
  EXPECT_EQ(count(dir_), 1);
}

TEST_F(StagedDirectoryTest, LeavesNothingWithoutCommit) {
  { const StagedDirectory staged({.path = at("a/b/out")}); }
  EXPECT_EQ(count(dir_), 0);
}

TEST_F(StagedDirectoryTest, ReplacesAResultOnlyWhenAllowed) {
  fs::create_directory(at("out"));
  make_result("out", "old");  // an empty directory is in nobody's way
  EXPECT_NE(error_of({.path = at("out")}).find("--force"), std::string::npos);
  {
    StagedDirectory staged({.path = at("out"), .replace = true});
    write_file(staged.staging_path() + "/f", "new");
    EXPECT_EQ(read_file(at("out/weights")), "old");  // untouched until commit
    staged.commit();
  }
  EXPECT_EQ(read_file(at("out/f")), "new");
  EXPECT_FALSE(fs::exists(at("out/weights")));
  EXPECT_EQ(count(dir_), 1);
}

TEST_F(StagedDirectoryTest, NeverReplacesWhatNoRunHasWritten) {
  make_result("out", "old");
  write_file(at("out/notes.txt"), "mine");
  const std::string message = error_of({.path = at("out"), .replace = true});
  EXPECT_NE(message.find("notes.txt"), std::string::npos) << message;
  fs::remove(at("out/notes.txt"));
  fs::create_directory(at("out/empty"));
  EXPECT_NE(error_of({.path = at("out"), .replace = true}).find("'empty'"), std::string::npos);
  fs::remove(at("out/empty"));
  fs::create_symlink("/etc", at("out/link"));
  EXPECT_NE(error_of({.path = at("out"), .replace = true}).find("'link'"), std::string::npos);

  fs::create_directory(at("folder"));
  write_file(at("folder/run.json"), R"({"format": "another", "files": ["run.json"]})");
  error_of({.path = at("folder"), .replace = true});
  write_file(at("folder/run.json"), "[1]");
  error_of({.path = at("folder"), .replace = true});
  write_file(at("file"), "mine");
  error_of({.path = at("file"), .replace = true});
  EXPECT_EQ(read_file(at("file")), "mine");
}

TEST_F(StagedDirectoryTest, IsHoldsAndLiesInNoInput) {
  make_result("model", "weights");
  const std::string text = at("texts/text.txt");
  fs::create_directory(at("texts"));
  write_file(text, "text");
  fs::create_symlink("model", at("link"));
  for (const bool replace : {false, true}) {
    error_of({.path = at("model"), .replace = replace, .inputs = {at("model/")}});
    error_of({.path = at("model/out"), .replace = replace, .inputs = {at("model")}});
    error_of({.path = at("model/out"), .replace = replace, .inputs = {at("link")}});
    error_of({.path = at("link"), .replace = replace, .inputs = {at("model")}});
    error_of({.path = at("model/../model"), .replace = replace, .inputs = {at("model")}});
    error_of({.path = at("texts"), .replace = replace, .inputs = {text}});
    error_of({.path = at("out"), .replace = replace, .inputs = {at("out/out.work")}});
  }
  // Beside an input file is no harm, nor is a name that begins like an input's.
  const StagedDirectory beside({.path = at("texts/out"), .inputs = {text, ""}});
  const StagedDirectory longer({.path = at("model-small"), .inputs = {at("model")}});
  EXPECT_EQ(read_file(at("model/weights")), "weights");
}

TEST_F(StagedDirectoryTest, IsForOneRunAtATime) {
  StagedDirectory first({.path = at("out")});
  EXPECT_NE(error_of({.path = at("out")}).find("another run"), std::string::npos);
  EXPECT_NE(error_of({.path = at("out"), .replace = true}).find("another run"), std::string::npos);
  write_result(first, "first");
  first.commit();
  error_of({.path = at("out")});
  EXPECT_EQ(read_file(at("out/weights")), "first");
  EXPECT_EQ(count(dir_), 1);
}

TEST_F(StagedDirectoryTest, RemovesWhatAKilledRunLeftAndTouchesNothingElse) {
  fs::create_directories(at("out.partial/out"));
  write_file(at("out.partial/lock"), "");
  write_file(at("out.partial/out/half"), "half");
  make_result("out", "new");
  EXPECT_FALSE(fs::exists(at("out/half")));
  EXPECT_EQ(count(dir_), 1);
  fs::create_directory(at("b.partial"));
  write_file(at("b.partial/mine"), "mine");
  EXPECT_NE(error_of({.path = at("b")}).find("b.partial"), std::string::npos);
  EXPECT_EQ(read_file(at("b.partial/mine")), "mine");
}

// A file system that cannot swap two names: killed between the two renames.
TEST_F(StagedDirectoryTest, EndsAMoveThatWasKilledBetweenItsTwoSteps) {
  fs::create_directories(at("out.partial/out"));
  fs::create_directories(at("out.partial/old"));
  write_file(at("out.partial/lock"), "");
  write_file(at("out.partial/commit"), "");
  write_file(at("out.partial/out/weights"), "new");
  write_file(at("out.partial/old/weights"), "old");
  EXPECT_NE(error_of({.path = at("out")}).find("already exists"), std::string::npos);
  EXPECT_EQ(read_file(at("out/weights")), "new");
  EXPECT_EQ(count(dir_), 1);
}

TEST_F(StagedDirectoryTest, KeepsTheResultWhereItsNameIsTaken) {
  StagedDirectory staged({.path = at("out")});
  write_result(staged, "hours of work");
  fs::create_directory(at("out"));
  write_file(at("out/mine"), "mine");
  try {
    staged.commit();
    ADD_FAILURE() << "something of others was replaced";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("out.result-1"), std::string::npos) << error.what();
  }
  EXPECT_EQ(read_file(at("out.result-1/weights")), "hours of work");
  EXPECT_EQ(read_file(at("out/mine")), "mine");
}

TEST_F(StagedDirectoryTest, FollowsALinkToADirectory) {
  fs::create_directory(at("target"));
  fs::create_directory_symlink("target", at("link"));
  make_result("link", "new");
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(read_file(at("target/weights")), "new");
  fs::create_symlink("nothing", at("dangling"));
  error_of({.path = at("dangling")});
}

TEST_F(StagedDirectoryTest, FillsAMountPointInPlace) {
  if (!mount_volume()) GTEST_SKIP() << "mounting needs root";
  fs::create_directory(at("vol/lost+found"));
  make_result("vol", "first");
  EXPECT_EQ(read_file(at("vol/weights")), "first");
  make_result("vol", "second", true);
  EXPECT_EQ(read_file(at("vol/weights")), "second");
  EXPECT_TRUE(fs::exists(at("vol/lost+found")));
  EXPECT_EQ(count(at("vol")), 3);
  EXPECT_EQ(count(dir_), 1);
}

TEST_F(StagedDirectoryTest, EndsOrUndoesAKilledMoveInAMountPoint) {
  if (!mount_volume()) GTEST_SKIP() << "mounting needs root";
  const std::string holder = at("vol/.prunus-partial");
  for (const bool complete : {true, false}) {
    fs::create_directories(holder + "/out");
    fs::create_directories(holder + "/old");
    write_file(holder + "/lock", "");
    write_file(holder + "/out/run.json", "{}");
    write_file(holder + "/old/weights", "old");
    write_file(at("vol/model"), "moved already");
    if (complete) write_file(holder + "/commit", "");
    error_of({.path = at("vol")});
    EXPECT_FALSE(fs::exists(holder));
    EXPECT_EQ(fs::exists(at("vol/run.json")), complete);
    EXPECT_EQ(fs::exists(at("vol/weights")), !complete);
    for (const auto& entry : fs::directory_iterator(at("vol"))) fs::remove_all(entry.path());
  }
}

TEST_F(StagedDirectoryTest, ThatCannotBeMadeIsAnIoError) {
  write_file(at("file"), "");
  error_of({.path = at("file/out")}, ErrorKind::Io);
  EXPECT_EQ(count(dir_), 1);
}

}  // namespace
}  // namespace prunus::staged_directory_test
