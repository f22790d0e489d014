#include "prunus/base/stand_in.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::stand_in_test {
namespace {

TEST(CheckNoStandIn, NamesPointersAndPagesAndHowToGetTheFile) {
  const auto refuse = [](const std::string& content, const std::string& part) {
    expect_error(ErrorKind::Corrupt, part, [&] { check_no_stand_in(content, "m/x"); });
  };
  refuse("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
         "m/x: is a Git LFS pointer, not the file itself");
  refuse("<!doctype HTML>", "m/x: is a web page");
  refuse("\xEF\xBB\xBF\r\n <html lang=\"en\">", "m/x: is a web page");
}

TEST(CheckNoStandIn, LetsEverythingElsePass) {
  for (const char* content : {"", " \n", "{}", "version 3", "<h", "<unk> 0", "\x08\0\0\0"}) {
    EXPECT_NO_THROW(check_no_stand_in(content, "x")) << content;
  }
}

}  // namespace
}  // namespace prunus::test::stand_in_test
