#include "prunus/model/config_fields.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus {

ConfigFields::ConfigFields(const Json& object, std::string where)
    : object_(&object), where_(std::move(where)) {
  PRUNUS_CHECK(object.is_object(), Corrupt, where_, ": expected a JSON object, got ",
               object.type_name());
}

bool ConfigFields::has(const std::string& key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

const Json* ConfigFields::find(const std::string& key) {
  known_.insert(key);
  return has(key) ? &object_->at(key) : nullptr;
}

int64_t ConfigFields::integer(const std::string& key, int64_t low, int64_t high,
                              std::optional<int64_t> fallback) {
  const Json* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  PRUNUS_CHECK(value != nullptr, Corrupt, where_, ": '", key, "' is missing");
  PRUNUS_CHECK(value->is_number_integer(), Corrupt, where_, ": '", key, "' is ", value->dump(),
               ", expected an integer");
  const bool too_big = value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX;
  const int64_t number = too_big ? INT64_MAX : value->get<int64_t>();
  PRUNUS_CHECK(!too_big && number >= low && number <= high, Corrupt, where_, ": '", key, "' is ",
               value->dump(), ", expected ", low, " to ", high);
  return number;
}

double ConfigFields::positive(const std::string& key, std::optional<double> fallback) {
  const Json* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  PRUNUS_CHECK(value != nullptr, Corrupt, where_, ": '", key, "' is missing");
  PRUNUS_CHECK(value->is_number(), Corrupt, where_, ": '", key, "' is ", value->dump(),
               ", expected a number");
  const auto number = value->get<double>();
  PRUNUS_CHECK(std::isfinite(number) && number > 0, Corrupt, where_, ": '", key, "' is ",
               value->dump(), ", expected a finite number above 0");
  return number;
}

std::vector<double> ConfigFields::positives(const std::string& key) {
  const Json* value = find(key);
  PRUNUS_CHECK(value != nullptr && value->is_array() && !value->empty(), Corrupt, where_, ": '",
               key, "' must be a list of numbers");
  std::vector<double> numbers;
  for (const Json& item : *value) {
    Json holder = Json::object();
    holder[key] = item;
    numbers.push_back(ConfigFields(holder, where_).positive(key));
  }
  return numbers;
}

bool ConfigFields::boolean(const std::string& key, bool fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  PRUNUS_CHECK(value->is_boolean(), Corrupt, where_, ": '", key, "' is ", value->dump(),
               ", expected true or false");
  return value->get<bool>();
}

std::string ConfigFields::text(const std::string& key, const std::string& fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  PRUNUS_CHECK(value->is_string(), Corrupt, where_, ": '", key, "' is ", value->dump(),
               ", expected a string");
  return value->get<std::string>();
}

std::optional<std::vector<int64_t>> ConfigFields::integers(const std::string& key, size_t count,
                                                           int64_t low, int64_t high) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  PRUNUS_CHECK(value->is_array() && value->size() == count, Corrupt, where_, ": '", key,
               "' must be a list of ", count, " integers, one per layer");
  std::vector<int64_t> numbers;
  for (const Json& item : *value) {
    Json holder = Json::object();
    holder[key] = item;
    numbers.push_back(ConfigFields(holder, where_).integer(key, low, high));
  }
  return numbers;
}

std::optional<std::vector<std::string>> ConfigFields::texts(const std::string& key, size_t count) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  PRUNUS_CHECK(value->is_array() && value->size() == count, Corrupt, where_, ": '", key,
               "' must be a list of ", count, " strings, one per layer");
  std::vector<std::string> items;
  for (const Json& item : *value) {
    PRUNUS_CHECK(item.is_string(), Corrupt, where_, ": '", key, "' holds ", item.dump(),
                 ", expected strings");
    items.push_back(item.get<std::string>());
  }
  return items;
}

std::optional<ConfigFields> ConfigFields::object(const std::string& key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return ConfigFields(*value, c10::str(where_, ": '", key, "'"));
}

void ConfigFields::ignore(std::initializer_list<const char*> keys) {
  known_.insert(keys.begin(), keys.end());
}

std::vector<std::string> ConfigFields::unknown() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object_->items()) {
    const bool says_nothing = value.is_null() || value.empty() || value == "";
    if (!says_nothing && !known_.contains(key)) keys.push_back(key);
  }
  return keys;
}

void ConfigFields::refuse(const std::string& key, const std::string& why) const {
  PRUNUS_FAIL(Unsupported, where_, ": field '", key, "' = ", object_->at(key).dump().substr(0, 80),
              " ", why);
}

}  // namespace prunus
