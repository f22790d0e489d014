#include <algorithm>
#include <mutex>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/stock_fields.h"

namespace prunus {
namespace {

constexpr const char* kNoStockClass =
    "may change the mathematics and Prunus does not implement it; if it is only a note, remove it "
    "from the file";

// "Absent" and an explicit false are the same question to code that only asks whether a field is
// set.
bool says_the_default(const Json& value, const Json& standard) {
  return value == standard || (standard.is_null() && value == false);
}

}  // namespace

void judge_unknown(ConfigFields& fields, const Family& family) {
  const Json* stock = stock_fields(family.model_type);
  for (const std::string& key : fields.unknown()) {
    if (is_generation_setting(key)) continue;
    if (stock == nullptr) fields.refuse(key, kNoStockClass);
    const auto row = stock->find(key);
    if (row == stock->end()) {
      fields.pass_over(key);
      continue;
    }
    const Json& standard = row->at(0);
    if (row->at(1) == 0 || says_the_default(fields.json().at(key), standard)) continue;
    fields.refuse(key, c10::str("changes what the stock class of model_type '", family.model_type,
                                "' computes (its default is ", standard.dump(),
                                "), and Prunus does not implement it"));
  }
}

void judge_unknown_rope(ConfigFields& fields, const ConfigFields& rope, const std::string& name,
                        const Family& family) {
  for (const std::string& key : rope.unknown()) {
    if (stock_fields(family.model_type) == nullptr) rope.refuse(key, kNoStockClass);
    fields.pass_over(name + "." + key);
  }
}

void warn_of_passed_over(const ModelConfig& config, const std::string& where) {
  static std::mutex mutex;
  static std::set<std::string> said;
  std::string names;
  bool code = false;
  for (const std::string& name : config.passed_over) {
    code = code || name == "auto_map";
    if (name != "auto_map") names += (names.empty() ? "" : ", ") + name;
  }
  // Names are of an untrusted file: they must not redraw the terminal.
  std::replace_if(
      names.begin(), names.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  const std::lock_guard lock(mutex);
  const std::string type(config.family->model_type);
  if (!names.empty() && said.insert(type + ": " + names).second) {
    log_warning(c10::str(where, ": passed over, as the stock class of model_type '", type,
                         "' does not read it: ", names));
  }
  if (code && said.insert(type + " with code").second) {
    log_warning(c10::str(where,
                         ": auto_map names code that comes with the model; Prunus does not "
                         "run it and computes what the stock class of model_type '",
                         type, "' computes"));
  }
}

}  // namespace prunus
