#include "prunus/model/stock_fields.h"

#include <map>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

namespace prunus {
namespace {

constexpr std::pair<std::string_view, const char*> kTables[] = {
#include "prunus/model/stock_fields.inc"
};

const std::map<std::string_view, Json>& tables() {
  static const auto parsed = [] {
    std::map<std::string_view, Json> all;
    for (const auto& [model_type, rows] : kTables) all.emplace(model_type, Json::parse(rows));
    return all;
  }();
  return parsed;
}

}  // namespace

const Json* stock_fields(std::string_view model_type) {
  const auto found = model_type.empty() ? tables().end() : tables().find(model_type);
  return found == tables().end() ? nullptr : &found->second;
}

bool is_generation_setting(std::string_view name) {
  return tables().at("").contains(std::string(name));
}

}  // namespace prunus
