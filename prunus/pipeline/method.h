#pragma once
#include <span>
#include <string>
#include <string_view>

#include "prunus/budget/budget.h"
#include "prunus/criteria/criterion.h"

namespace prunus {

/// A published method is a named choice of parts; a new combination needs no code. One object per
/// file of pipeline/methods/.
struct Method {
  std::string_view name;  ///< as on the command line
  std::string_view source;
  std::string_view summary;                    ///< one line for --help
  std::span<const std::string_view> criteria;  ///< by name; the first is the default
};

namespace methods {
/// Every method, by file name.
std::span<const Method* const> all();
}  // namespace methods

/// The method of that name. Throws InvalidArgument listing the known ones.
const Method& find_method(std::string_view name);

/// The criterion the method uses: its first, or, where `taylor` is given, "taylor_<taylor>".
/// Throws InvalidArgument if the method has no such variant.
const Criterion& criterion_of(const Method& method, std::string_view taylor);

/// The budget of that name. Throws InvalidArgument listing the known ones.
const Budget& find_budget(std::string_view name);

}  // namespace prunus
