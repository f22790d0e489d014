#pragma once
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "prunus/eval/request.h"

namespace prunus {

/// Results on disk, so that a run that was stopped goes on where it was. One JSON value a line:
/// first {"format":"prunus-scores-1","requests":N,"key":SHA-256 of requests and model}, then one
/// line per pass, an array of [request, log-likelihood in nats, greedy].
/// A line is one write; what a killed process left without its end is cut off when the file is
/// opened again.
class ScoreJournal {
 public:
  /// Opens or begins the file. Throws Corrupt where it is another run's or damaged; Io.
  ScoreJournal(std::string path, std::string key, size_t requests);

  /// What the file holds, by request.
  const std::vector<std::pair<size_t, ScoreResult>>& finished() const { return finished_; }
  /// Appends one pass. Throws Io.
  void append(std::span<const size_t> requests, const std::vector<ScoreResult>& results);

 private:
  void read(size_t requests, const std::string& key);
  void read_pass(const std::string& line, size_t number, std::vector<bool>& seen);
  void write_line(const std::string& line);

  std::string path_;
  std::vector<std::pair<size_t, ScoreResult>> finished_;
  std::ofstream file_;
};

/// Names a run: SHA-256 of every request's ids, the configuration, every tensor's name, shape and
/// dtype, and two rows of each: pruned siblings of one model often have the same sizes.
std::string score_key(const Model& model, std::span<const ScoreRequest> requests,
                      int64_t max_length);

}  // namespace prunus
