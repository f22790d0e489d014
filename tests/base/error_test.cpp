#include "prunus/base/error.h"

#include <gtest/gtest.h>

namespace prunus::error_test {
namespace {

TEST(Error, CheckThrowsTheKindAndTheJoinedMessage) {
  int evaluated = 0;
  const auto count = [&] { return ++evaluated; };
  PRUNUS_CHECK(true, Io, "built only on failure: ", count());
  EXPECT_EQ(evaluated, 0);
  try {
    PRUNUS_CHECK(1 > 2, Corrupt, "file: got ", 1, ", expected ", 2.5);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt);
    EXPECT_STREQ(error.what(), "file: got 1, expected 2.5");
  }
  EXPECT_THROW(PRUNUS_FAIL(Numeric, "nan"), Error);
}

TEST(Error, EveryKindHasTheExitCodeOfTheDesign) {
  EXPECT_EQ(exit_code(ErrorKind::InvalidArgument), 2);
  EXPECT_EQ(exit_code(ErrorKind::Corrupt), 3);
  EXPECT_EQ(exit_code(ErrorKind::NotFound), 3);
  EXPECT_EQ(exit_code(ErrorKind::Unsupported), 4);
  EXPECT_EQ(exit_code(ErrorKind::Numeric), 5);
  EXPECT_EQ(exit_code(ErrorKind::OutputCheck), 6);
  EXPECT_EQ(exit_code(ErrorKind::Io), 1);
  EXPECT_EQ(exit_code(ErrorKind::Interrupted), 130);
  EXPECT_STREQ(error_kind_name(ErrorKind::OutputCheck), "output check");
}

}  // namespace
}  // namespace prunus::error_test
