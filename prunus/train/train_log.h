#pragma once
#include <cstdint>
#include <fstream>
#include <string>

#include "prunus/base/json.h"

namespace prunus {

/// train.jsonl, flushed line by line.
class TrainLog {
 public:
  /// Where a run goes on, lines of steps that are done again are replaced as they come.
  TrainLog(std::string path, bool go_on);
  void add(const Json& line);
  /// Each step's last line up to `last_step`, in order: a run that was resumed at an earlier step
  /// may have come less far than the one before it. Throws Io.
  void copy_to(const std::string& path, int64_t last_step) const;

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace prunus
