#include "prunus/base/whole_number.h"

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus {

int64_t whole_number(const Json& value, const std::string& where) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
  PRUNUS_CHECK(fits, Corrupt, where, ": is ", value.dump().substr(0, 80),
               ", expected a whole number");
  return value.get<int64_t>();
}

int64_t whole_number(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  PRUNUS_CHECK(found != object.end(), Corrupt, where, ": has no '", key, "'");
  return whole_number(*found, c10::str(where, ": ", key));
}

int64_t whole_number(const Json& object, const char* key, const std::string& where,
                     int64_t fallback) {
  return object.contains(key) ? whole_number(object, key, where) : fallback;
}

}  // namespace prunus
