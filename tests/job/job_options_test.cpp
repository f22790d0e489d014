#include "prunus/job/job_options.h"

#include <gtest/gtest.h>

#include "prunus/job/program_options.h"

#include "support/expect_error.h"

namespace prunus::test::job_options_test {
namespace {

TEST(JobOptions, ADeviceIsNamedAsInLibtorch) {
  EXPECT_TRUE(parse_device("cpu", "--device").is_cpu());
  for (const char* wrong : {"", "gpu", "cpus", "CPU"}) {
    expect_error(ErrorKind::InvalidArgument, "r.toml:1:1: device",
                 [&] { parse_device(wrong, "r.toml:1:1: device"); });
  }
  expect_error(ErrorKind::InvalidArgument, "--device cuda:x",
               [] { parse_device("cuda:x", "--device"); });
}

TEST(JobOptions, TheProgramsKeysAreThoseOfItsTable) {
  std::vector<std::string> keys;
  for (const auto& option : program_table.options) keys.push_back(recipe_key(option.info));
  EXPECT_EQ(keys, std::vector<std::string>(std::begin(kProgramKeys), std::end(kProgramKeys)));
}

}  // namespace
}  // namespace prunus::test::job_options_test
