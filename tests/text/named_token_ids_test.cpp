#include "prunus/text/named_token_ids.h"

#include <vector>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

#include "support/expect_error.h"

namespace prunus::test::named_token_ids_test {
namespace {

using testing::UnorderedElementsAre;

std::vector<int64_t> named(Json config) {
  std::vector<int64_t> ids;
  text::visit_named_ids(config, "config.json", [&](int64_t& id) { ids.push_back(id); });
  return ids;
}

TEST(NamedTokenIds, AreShownAtAnyDepthAloneAndInLists) {
  const Json config = {{"bos_token_id", 1},
                       {"eos_token_id", {2, 3}},
                       {"text_config", {{"pad_token_id", 4}, {"layers", {{{"x_token_index", 5}}}}}},
                       {"bad_words_ids", {{6, 7}, {8}}},
                       {"suppress_tokens", {9}}};
  EXPECT_THAT(named(config), UnorderedElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(NamedTokenIds, AreNeitherOtherNumbersNorNone) {
  EXPECT_THAT(named({{"vocab_size", 10},
                     {"pad_token_id", -1},
                     {"unk_token_id", nullptr},
                     {"eos_token_id", "2"},
                     {"mask_token_id", 1.5}}),
              testing::IsEmpty());
}

TEST(NamedTokenIds, AreChangedInPlace) {
  Json config = {{"eos_token_id", {2, 3}}, {"vocab_size", 2}};
  text::visit_named_ids(config, "config.json", [](int64_t& id) { id += 10; });
  EXPECT_EQ(config, Json({{"eos_token_id", {12, 13}}, {"vocab_size", 2}}));
}

TEST(NamedTokenIds, RefusesSettingsThatNameThemOtherwise) {
  for (const char* key : {"forced_decoder_ids", "sequence_bias"}) {
    expect_error(ErrorKind::Unsupported, key, [&] { named({{"decoder", {{key, {{1, 2}}}}}}); });
    EXPECT_THAT(named({{key, nullptr}}), testing::IsEmpty());
  }
}

}  // namespace
}  // namespace prunus::test::named_token_ids_test
