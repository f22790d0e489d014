#pragma once
#include <string>

#include "prunus/base/json.h"
#include "prunus/eval/task_run.h"

namespace prunus {

/// An earlier evaluation, of the unpruned model, that figures are told as fractions of.
class EarlierEvaluation {
 public:
  /// An empty path: none. Throws NotFound; Corrupt where the file is not what `prunus eval` writes.
  explicit EarlierEvaluation(std::string path);

  /// Before the work: there is something in common. `texts` are the new evaluation's, with their
  /// protocol and text_sha256. Throws InvalidArgument where neither a text nor the tasks are, and
  /// where tasks, their files or their numbers of examples differ.
  void check(const TaskRunOptions& tasks, const Json& texts) const;

  /// Adds the fractions to an evaluation: "relative" beside its tasks, and in each of its results
  /// that is of the same text under the same protocol. Throws as relative_to().
  void relate(Json& evaluation) const;

 private:
  bool given() const { return !path_.empty(); }
  void check_tasks(const TaskRunOptions& tasks) const;
  bool shares_text(const Json& texts) const;

  std::string path_;
  std::string text_;  // Json is only declared here
};

}  // namespace prunus
