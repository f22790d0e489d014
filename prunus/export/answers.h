#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/export/form.h"

namespace prunus {

/// No with its reasons where there are obstacles, else yes with `how`.
FormAnswer answer(std::string_view software, const std::vector<std::string>& obstacles,
                  std::string how);

/// How a directory OUT is opened, in a line; `code`: the classes are in the directory.
std::string load_in_transformers(bool code);
std::string load_in_vllm(bool code);

}  // namespace prunus
