#pragma once
#include <span>
#include <string>
#include <string_view>

#include "prunus/base/option.h"

namespace prunus {

/// Values that a recipe holds for a command. A recipe is a file in TOML, or in JSON where its name
/// ends in .json: keys (recipe_key()) at top level, or in a table with the command's name, which
/// wins; tables of other commands are passed over, so that one file may serve several.
/// `others`: keys that are let pass. The file's path is added for the option that names it.
/// Throws NotFound, Io; Corrupt for a file that breaks its format; InvalidArgument naming file,
/// line, column (TOML), key, what it got and expected: an unknown key, a value of the wrong type,
/// out of range or no known word, two values that exclude each other.
Given read_given(const std::string& path, std::string_view command,
                 std::span<const BoundOption> options, std::span<const char* const> others = {});

/// Fills a job from a recipe. Relative paths in it are relative to the working directory.
/// Throws as read_given; InvalidArgument as the table's own rules.
template <typename Job, typename Resolved>
void read_recipe(const std::string& path, const OptionTable<Job, Resolved>& table, Job& job) {
  fill(table, job, read_given(path, table.command, bind(table, job), table.others));
}

}  // namespace prunus
