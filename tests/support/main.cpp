// As gtest_main, but a run in which nothing failed and something was skipped ends with a code of
// its own, so that ctest says "Skipped" and not "Passed".
#include <iostream>

#include <gmock/gmock.h>

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // tests/CMakeLists.txt: SKIP_RETURN_CODE
  testing::InitGoogleMock(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  const auto& unit = *testing::UnitTest::GetInstance();
  if (failed != 0 || unit.skipped_test_count() == 0) return failed;
  std::cerr << unit.skipped_test_count() << " tests were skipped, " << unit.successful_test_count()
            << " passed\n";
  return kSkipped;
}
