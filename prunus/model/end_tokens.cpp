#include "prunus/model/end_tokens.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/base/whole_number.h"
#include "prunus/model/model_files.h"
#include "prunus/model/text_part.h"

namespace prunus {
namespace fs = std::filesystem;

std::vector<int64_t> end_tokens(const std::string& model_dir) {
  constexpr const char* kKey = "eos_token_id";
  const SideFiles side(model_dir);
  fs::path path = fs::path(side.dir()) / "generation_config.json";
  if (!fs::exists(path)) path = fs::path(side.dir()) / "config.json";
  Json config = read_json(path.string(), uint64_t{1} << 26);
  PRUNUS_CHECK(config.is_object(), Corrupt, path.string(), ": is ", config.type_name(),
               ", expected an object");
  if (const auto text = text_part(config, path.string())) config = text->config();
  const auto found = config.find(kKey);
  if (found == config.end() || found->is_null()) return {};
  const Json list = found->is_array() ? *found : Json::array({*found});
  std::vector<int64_t> ids;
  for (const Json& id : list) {
    ids.push_back(whole_number(id, c10::str(path.string(), ": ", kKey)));
  }
  return ids;
}

}  // namespace prunus
