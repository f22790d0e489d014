#include "prunus/base/quantity.h"

#include <gmock/gmock.h>

#include "prunus/base/error.h"

namespace prunus::quantity_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The message of the InvalidArgument that `parse` throws.
template <typename Parse>
std::string refusal(Parse parse) {
  try {
    const int64_t value = parse();
    ADD_FAILURE() << "gave " << value;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    return error.what();
  }
  return "";
}

std::string refused_count(std::string_view text) {
  return refusal([&] { return parse_count(text, "--target-params"); });
}

std::string refused_bytes(std::string_view text) {
  return refusal([&] { return parse_bytes(text, "--max-memory"); });
}

TEST(ParseCount, ReadsPlainScientificAndSuffixedNumbers) {
  const auto parse = [](std::string_view text) { return parse_count(text, "-n"); };
  EXPECT_EQ(parse("1"), 1);
  EXPECT_EQ(parse("1234567"), 1234567);
  EXPECT_EQ(parse("12K"), 12000);
  EXPECT_EQ(parse("350M"), 350000000);
  EXPECT_EQ(parse("5.4B"), 5400000000);
  EXPECT_EQ(parse("424.02g"), 424020000000);
  EXPECT_EQ(parse("1.2t"), 1200000000000);
  EXPECT_EQ(parse("1.2e9"), 1200000000);
  EXPECT_EQ(parse("1.2E+3k"), 1200000);
  EXPECT_EQ(parse("0.0015K"), 2);  // 1.5, rounded
}

TEST(ParseCount, IsExactUpToTheLargestInt64) {
  EXPECT_EQ(parse_count("9007199254740993", "-n"), 9007199254740993);  // no double
  EXPECT_EQ(parse_count("9223372036854775807", "-n"), INT64_MAX);
  for (const char* big : {"9223372036854775808", "9.3e18", "1e400", "1e5000", "10000000000B"}) {
    EXPECT_THAT(refused_count(big), HasSubstr(big));
  }
}

TEST(ParseCount, RefusesEverythingElseWithExamples) {
  for (const char* bad : {"",       " 5B",     "5 B",   "5B ", "5BB",  "+5",   "-5B",    "0",
                          "0.0B",   "0.0004K", "1.5",   "B",   ".5B",  "nan",  "inf",    "0x10",
                          "1e-10B", "5,4B",    "1_000", "5e",  "4GiB", "0.8x", "1e-5000"}) {
    EXPECT_THAT(refused_count(bad), AllOf(HasSubstr("--target-params: got '" + std::string(bad)),
                                          HasSubstr("such as 5.4B, 350M, 12K")));
  }
  EXPECT_THAT(refused_count(std::string_view("5\0B", 3)), HasSubstr("got '5"));
}

TEST(ParseBytes, ReadsPowersOf1000And1024) {
  const auto parse = [](std::string_view text) { return parse_bytes(text, "-m"); };
  EXPECT_EQ(parse("1024"), 1024);
  EXPECT_EQ(parse("7B"), 7);
  EXPECT_EQ(parse("2kB"), 2000);
  EXPECT_EQ(parse("500MB"), 500000000);
  EXPECT_EQ(parse("3.5GB"), 3500000000);
  EXPECT_EQ(parse("1TB"), 1000000000000);
  EXPECT_EQ(parse("3KiB"), 3072);
  EXPECT_EQ(parse("64MiB"), 67108864);
  EXPECT_EQ(parse("4GiB"), 4294967296);
  EXPECT_EQ(parse("0.5gib"), 536870912);
  EXPECT_EQ(parse("2TiB"), 2199023255552);
}

TEST(ParseBytes, RefusesEverythingElseWithExamples) {
  for (const char* bad : {"", "4G", "4Gi", "4 GiB", "-4GiB", "0MB", "12.5", "8388608TiB", "GiB",
                          "4GiB/s", "350M", "infGB"}) {
    EXPECT_THAT(refused_bytes(bad), AllOf(HasSubstr("--max-memory: got '" + std::string(bad)),
                                          HasSubstr("such as 4GiB, 500MB")));
  }
}

TEST(ParseTarget, IsAPartOfTheOriginalOrACount) {
  EXPECT_EQ(parse_target("0.8x", 6738415616, "-t"), 5390732493);  // 5390732492.8
  EXPECT_EQ(parse_target("1X", 100, "-t"), 100);
  EXPECT_EQ(parse_share("0.6x", "-t"), 0.6);
  for (const char* text : {"0.6", "1x", "0x", "60%", "", "-0.5x", "0.6y"}) {
    EXPECT_THROW(parse_share(text, "-t"), Error) << text;
  }
  EXPECT_EQ(parse_target("5.4B", 6738415616, "-t"), 5400000000);
  EXPECT_EQ(parse_target("100", 100, "-t"), 100);
}

TEST(ParseTarget, RefusesWhatIsNoTargetOrAboveTheOriginal) {
  const auto refused = [](std::string_view text) {
    return refusal([&] { return parse_target(text, 100, "--target"); });
  };
  for (const char* bad : {"", "x", "0x", "-0.5x", "0.8", "0.8xx", "0.001x", "80%", "1e30x"}) {
    EXPECT_THAT(refused(bad), AllOf(HasSubstr("--target: got '" + std::string(bad)),
                                    HasSubstr("such as 0.8x, or a count such as 5.4B")));
  }
  EXPECT_THAT(refused("1.25x"), HasSubstr("which is 125, but the original has only 100"));
  EXPECT_THAT(refused("101"), HasSubstr("which is 101"));
}

}  // namespace
}  // namespace prunus::quantity_test
