#include "prunus/base/temporary.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::temporary_test {
namespace {

// TMPDIR of this process, put back at the end.
class Temporary : public ::testing::Test {
 protected:
  Temporary() {
    if (const char* set = std::getenv("TMPDIR")) before_ = set;
  }
  ~Temporary() override {
    if (before_) {
      ::setenv("TMPDIR", before_->c_str(), 1);
    } else {
      ::unsetenv("TMPDIR");
    }
  }

 private:
  std::optional<std::string> before_;
};

TEST_F(Temporary, IsWhatTheEnvironmentSaysOrTmp) {
  const test::TempDir dir;
  ::setenv("TMPDIR", dir.path().c_str(), 1);
  EXPECT_EQ(temporary_folder("x"), dir.path());
  ::setenv("TMPDIR", "", 1);
  EXPECT_EQ(temporary_folder("x"), "/tmp");
  ::unsetenv("TMPDIR");
  EXPECT_EQ(temporary_folder("x"), "/tmp");
}

TEST_F(Temporary, SaysWhatIsWrongAndWhatElseToDo) {
  const test::TempDir dir;
  std::ofstream(dir / "file") << "x";
  for (const std::string& bad : {dir / "none", dir / "file"}) {
    ::setenv("TMPDIR", bad.c_str(), 1);
    test::expect_error(ErrorKind::InvalidArgument, bad + ": no such folder",
                       [] { temporary_folder("name a --kl-cache"); });
    test::expect_error(ErrorKind::InvalidArgument, "set TMPDIR, or name a --kl-cache",
                       [] { temporary_folder("name a --kl-cache"); });
  }
}

}  // namespace
}  // namespace prunus::temporary_test
