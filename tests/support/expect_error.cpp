#include "support/expect_error.h"

#include <gtest/gtest.h>

namespace prunus::test {

void expect_error(ErrorKind kind, const std::string& part, const std::function<void()>& act) {
  try {
    act();
    ADD_FAILURE() << "nothing thrown; expected " << error_kind_name(kind) << " with '" << part
                  << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
        << "no '" << part << "' in: " << error.what();
  }
}

}  // namespace prunus::test
