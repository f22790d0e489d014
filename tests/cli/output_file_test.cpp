#include "prunus/cli/output_file.h"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "prunus/base/files.h"

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::test::output_file_test {
namespace {

namespace fs = std::filesystem;

class OutputFiles : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content = "x") const {
    std::ofstream(dir_ / name) << content;
    return dir_ / name;
  }
  static void check(const std::string& path, const std::vector<std::string>& inputs = {},
                    bool force = false) {
    check_outputs({{"--out", path}}, inputs, force);
  }
  static void refuses(const std::string& path, const std::string& part,
                      const std::vector<std::string>& inputs = {}, bool force = true) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { check(path, inputs, force); });
    expect_error(ErrorKind::InvalidArgument, "--out " + path, [&] { check(path, inputs, force); });
  }

  TempDir dir_;
};

TEST_F(OutputFiles, MayBeNewOrLeftOut) {
  EXPECT_NO_THROW(check(dir_ / "new.json"));
  EXPECT_NO_THROW(check(""));
  write_output({"--out", ""}, "x");
  write_output({"--out", dir_ / "new.json"}, "content");
  EXPECT_EQ(read_file(dir_ / "new.json"), "content");
}

TEST_F(OutputFiles, AreNotReplacedWithoutForce) {
  const std::string there = file("there.json");
  refuses(there, "exists; --force replaces it", {}, false);
  EXPECT_NO_THROW(check(there, {}, true));
}

TEST_F(OutputFiles, NeedAFolderThatIsThere) {
  refuses(dir_ / "none/x.json", "no such folder");
  refuses(file("plain") + "/x.json", "no such folder");
  refuses(dir_.path(), "is a directory");
  refuses(dir_ / "none/", "is a directory");
}

TEST_F(OutputFiles, AreRegularFiles) {
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  refuses(dir_ / "pipe", "not a regular file");
}

TEST_F(OutputFiles, AreNotWhatIsRead) {
  fs::create_directory(dir_ / "model");
  const std::string config = file("model/config.json");
  const std::string text = file("text.txt");
  fs::create_symlink(text, dir_ / "link");
  refuses(text, "is also read", {text});
  refuses(dir_ / "link", "is also read", {text});
  refuses(dir_ / "model/../text.txt", "is also read", {text});
  refuses(config, "is one of the files of", {dir_ / "model"});
  EXPECT_NO_THROW(check(dir_ / "model/new.json", {dir_ / "model"}));
}

TEST_F(OutputFiles, AreDifferentFiles) {
  const std::string path = dir_ / "x.json";
  expect_error(ErrorKind::InvalidArgument, "another option", [&] {
    check_outputs({{"--out", path}, {"--samples", dir_ / "./x.json"}}, {}, false);
  });
  EXPECT_NO_THROW(check_outputs({{"--out", path}, {"--samples", ""}, {"--more", ""}}, {}, false));
}

TEST_F(OutputFiles, KeepALinkALink) {
  const std::string there = file("there.json", "old");
  fs::create_symlink(there, dir_ / "link");
  refuses(dir_ / "link", "exists; --force", {}, false);
  write_output({"--out", dir_ / "link"}, "new");
  EXPECT_TRUE(fs::is_symlink(dir_ / "link"));
  EXPECT_EQ(read_file(there), "new");
}

}  // namespace
}  // namespace prunus::test::output_file_test
