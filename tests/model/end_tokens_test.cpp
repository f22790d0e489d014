#include "prunus/model/end_tokens.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "prunus/base/error.h"

#include "support/paths.h"

namespace prunus::test::end_tokens_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// What transformers 5.24's greedy generate stops at, tried on a small model with each pair of
// files.
class EndTokens : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(dir_ / name) << content;
  }
  std::vector<int64_t> read() const { return end_tokens(dir_.path()); }
  std::string error() const {
    try {
      read();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Corrupt);
      return error.what();
    }
    return "no error";
  }
  TempDir dir_;
};

TEST_F(EndTokens, AreThoseOfTheGenerationConfigOneOrSeveral) {
  write("config.json", R"({"eos_token_id": 7})");
  write("generation_config.json", R"({"eos_token_id": [2, 286]})");
  EXPECT_THAT(read(), ElementsAre(2, 286));
  write("generation_config.json", R"({"eos_token_id": 383, "_from_model_config": true})");
  EXPECT_THAT(read(), ElementsAre(383));
}

TEST_F(EndTokens, AreThoseOfTheConfigOnlyWithoutAGenerationConfig) {
  write("config.json", R"({"eos_token_id": [2, 286]})");
  EXPECT_THAT(read(), ElementsAre(2, 286));
  write("config.json", R"({"eos_token_id": 286})");
  EXPECT_THAT(read(), ElementsAre(286));
  write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_THAT(read(), IsEmpty());
  write("generation_config.json", R"({"bos_token_id": 1})");
  EXPECT_THAT(read(), IsEmpty());
}

TEST_F(EndTokens, OfTheWrongTypeAreRefusedByFileAndField) {
  for (const char* value : {"\"</s>\"", "2.5", "[2, null]", "{}", "[[2]]"}) {
    write("generation_config.json", std::string(R"({"eos_token_id": )") + value + "}");
    EXPECT_THAT(error(), testing::HasSubstr("generation_config.json: eos_token_id")) << value;
  }
}

}  // namespace
}  // namespace prunus::test::end_tokens_test
