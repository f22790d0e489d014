#include "prunus/text/token_model.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/bpe_model.h"
#include "prunus/text/unigram_model.h"
#include "prunus/text/utf8.h"

namespace prunus::text {

std::unique_ptr<TokenModel> read_model(const JsonView& model) {
  // Files written before the field existed have no type; all of them are BPE.
  const std::string type = model.has("type") ? model.text("type") : "BPE";
  if (type == "Unigram") return std::make_unique<UnigramModel>(model);
  PRUNUS_CHECK(type == "BPE", Unsupported, model.where(), ".type: '", type,
               "' is not supported (only BPE and Unigram)");
  return std::make_unique<BpeModel>(model);
}

namespace {

// The tokens that are one character each.
std::vector<int64_t> single_characters(const TokenModel& model) {
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < model.id_limit(); ++id) {
    const std::string* token = model.token_of(id);
    if (token == nullptr || token->empty()) continue;
    if (code_point_at(*token, 0).bytes == token->size()) ids.push_back(id);
  }
  return ids;
}

}  // namespace

std::vector<int64_t> spelling_ids(const TokenModel& model, bool byte_fallback,
                                  const std::array<int32_t, 256>& byte_ids) {
  const bool bytes = byte_fallback && std::none_of(byte_ids.begin(), byte_ids.end(),
                                                   [](int32_t id) { return id < 0; });
  std::vector<int64_t> ids = bytes ? std::vector<int64_t>() : single_characters(model);
  for (const int32_t id : byte_ids) {
    if (byte_fallback && id >= 0) ids.push_back(id);
  }
  if (const auto mark = model.id_of(kSpaceMark)) ids.push_back(*mark);
  return ids;
}

std::string byte_token(size_t byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte & 0xFF));
  return name;
}

}  // namespace prunus::text
