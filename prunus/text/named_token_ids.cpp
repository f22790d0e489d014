#include "prunus/text/named_token_ids.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus::text {
namespace {

bool names_ids(std::string_view key) {
  static constexpr std::array<std::string_view, 3> kEndings = {"_token_id", "_token_ids",
                                                               "_token_index"};
  static constexpr std::array<std::string_view, 4> kLists = {
      "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "force_words_ids"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return key.ends_with(ending); }) ||
         std::find(kLists.begin(), kLists.end(), key) != kLists.end();
}

void visit_numbers(Json& value, const std::function<void(int64_t& id)>& visit) {
  if (value.is_array()) {
    for (Json& one : value) visit_numbers(one, visit);
  } else if (value.is_number_integer() && value.get<int64_t>() >= 0) {
    auto id = value.get<int64_t>();
    visit(id);
    value = id;
  }
}

}  // namespace

void visit_named_ids(Json& config, const std::string& where,
                     const std::function<void(int64_t& id)>& visit) {
  if (config.is_array()) {
    for (Json& one : config) visit_named_ids(one, where, visit);
  }
  if (!config.is_object()) return;
  for (const auto& [key, value] : config.items()) {
    const bool other = key == "forced_decoder_ids" || key == "sequence_bias";
    PRUNUS_CHECK(!other || value.is_null() || value.empty(), Unsupported, where, ": '", key,
                 "' names tokens by numbers that would change, and Prunus does not rewrite it; "
                 "remove it from the file first");
    if (names_ids(key)) {
      visit_numbers(value, visit);
    } else {
      visit_named_ids(value, where, visit);
    }
  }
}

}  // namespace prunus::text
