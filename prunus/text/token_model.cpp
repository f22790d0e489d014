#include "prunus/text/token_model.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/bpe_model.h"
#include "prunus/text/unigram_model.h"

namespace prunus::text {

std::unique_ptr<TokenModel> read_model(const JsonView& model) {
  // Files written before the field existed have no type; all of them are BPE.
  const std::string type = model.has("type") ? model.text("type") : "BPE";
  if (type == "Unigram") return std::make_unique<UnigramModel>(model);
  PRUNUS_CHECK(type == "BPE", Unsupported, model.where(), ".type: '", type,
               "' is not supported (only BPE and Unigram)");
  return std::make_unique<BpeModel>(model);
}

std::string byte_token(size_t byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte & 0xFF));
  return name;
}

}  // namespace prunus::text
