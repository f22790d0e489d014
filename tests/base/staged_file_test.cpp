#include "prunus/base/staged_file.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"

namespace prunus::staged_file_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class StagedFileTest : public ::testing::Test {
 protected:
  StagedFileTest() {
    std::string name = (fs::temp_directory_path() / "prunus-staged-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
  }
  ~StagedFileTest() override { fs::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  static void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  std::string refusal(StagedFile::Options options) {
    try {
      const StagedFile file(std::move(options));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }
  size_t entries() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }

  std::string dir_;
};

TEST_F(StagedFileTest, AppearsWithItsRecordsOnCommit) {
  StagedFile file({.path = path("new/small.gguf")});
  put(file.file_path(), "weights");
  put(file.staging_path() + "/run.json", "{}");
  fs::create_directories(file.staging_path() + "/masks");
  EXPECT_FALSE(fs::exists(path("new/small.gguf")));
  file.commit();
  EXPECT_EQ(read_file(path("new/small.gguf")), "weights");
  EXPECT_EQ(read_file(path("new/small.run.json")), "{}");
  EXPECT_FALSE(fs::exists(path("new/small.gguf.partial")));
}

TEST_F(StagedFileTest, LeavesNothingWithoutCommit) {
  {
    const StagedFile file({.path = path("small.gguf")});
    put(file.file_path(), "half");
  }
  EXPECT_EQ(entries(), 0);
}

TEST_F(StagedFileTest, ReplacesOnRequestOnly) {
  put(path("small.gguf"), "old");
  EXPECT_THAT(refusal({.path = path("small.gguf")}), HasSubstr("--force"));
  StagedFile file({.path = path("small.gguf"), .replace = true});
  put(file.file_path(), "new");
  file.commit();
  EXPECT_EQ(read_file(path("small.gguf")), "new");
}

TEST_F(StagedFileTest, RefusesPlacesThatAreTaken) {
  put(path("m.gguf"), "model");
  fs::create_directories(path("d.gguf"));
  put(path("other.run.json"), "{}");
  EXPECT_THAT(refusal({.path = ""}), HasSubstr("--out is empty"));
  EXPECT_THAT(refusal({.path = path("d.gguf")}), HasSubstr("is a directory"));
  EXPECT_THAT(refusal({.path = path("other.gguf")}), HasSubstr("other.run.json"));
  EXPECT_THAT(refusal({.path = path("m.gguf"), .replace = true, .inputs = {path("m.gguf")}}),
              HasSubstr("is an input of this run"));
  const StagedFile first({.path = path("x.gguf")});
  EXPECT_THAT(refusal({.path = path("x.gguf")}), HasSubstr("another run is writing it"));
}

TEST_F(StagedFileTest, TakesOverWhatAKilledRunLeft) {
  fs::create_directories(path("x.gguf.partial/out"));
  put(path("x.gguf.partial/lock"), "");
  put(path("x.gguf.partial/out/x.gguf"), "half");
  StagedFile file({.path = path("x.gguf")});
  EXPECT_FALSE(fs::exists(file.file_path()));
}

TEST_F(StagedFileTest, ALinkStaysOne) {
  put(path("real.gguf"), "old");
  fs::create_symlink(path("real.gguf"), path("link.gguf"));
  StagedFile file({.path = path("link.gguf"), .replace = true});
  put(file.file_path(), "new");
  file.commit();
  EXPECT_TRUE(fs::is_symlink(path("link.gguf")));
  EXPECT_EQ(read_file(path("real.gguf")), "new");
}

}  // namespace
}  // namespace prunus::staged_file_test
