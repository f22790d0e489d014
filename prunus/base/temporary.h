#pragma once
#include <string>

namespace prunus {

/// The folder for files that do not outlive the process: TMPDIR, or /tmp.
/// Throws InvalidArgument where it is not there, is no folder or cannot be written; `instead` says
/// what else the user may do.
std::string temporary_folder(const std::string& instead);

}  // namespace prunus
