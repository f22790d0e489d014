#pragma once
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/base/json.h"

namespace prunus {

/// The value, or null where there is none.
template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace prunus
