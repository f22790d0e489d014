#include "prunus/train/train_log.h"

#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/whole_number.h"

namespace prunus {

TrainLog::TrainLog(std::string path, bool go_on)
    : path_(std::move(path)),
      file_(path_, std::ios::binary | (go_on ? std::ios::app : std::ios::trunc)) {
  // What a killed process or a full disk left may end in half a line.
  if (go_on && std::filesystem::file_size(path_) > 0) file_ << "\n" << std::flush;
  PRUNUS_CHECK(file_.good(), Io, path_, ": cannot write");
}

void TrainLog::add(const Json& line) {
  file_ << line.dump() << "\n";
  file_.flush();
  PRUNUS_CHECK(file_.good(), Io, path_, ": cannot write; disk full?");
}

void TrainLog::copy_to(const std::string& path, int64_t last_step) const {
  std::map<int64_t, std::string> lines;
  std::ifstream file(path_, std::ios::binary);
  for (std::string line; std::getline(file, line);) {
    // A killed process may have left half a line.
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) lines[whole_number(json, "step", "train.jsonl", 0)] = line;
  }
  std::string text;
  for (const auto& [step, line] : lines) text += step <= last_step ? line + "\n" : "";
  write_file(path, text);
}

}  // namespace prunus
