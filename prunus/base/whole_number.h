#pragma once
#include <cstdint>
#include <string>

#include "prunus/base/json.h"

namespace prunus {

/// A whole number in JSON that anybody may have written. (get<int64_t>() would make 1 of 1.5, and
/// anything of 1e300.) Throws Corrupt: "WHERE: is 1.5, expected a whole number".
int64_t whole_number(const Json& value, const std::string& where);

/// The member `key` of an object; `fallback` where it is missing.
int64_t whole_number(const Json& object, const char* key, const std::string& where);
int64_t whole_number(const Json& object, const char* key, const std::string& where,
                     int64_t fallback);

}  // namespace prunus
