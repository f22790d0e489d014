#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/model/model.h"

namespace prunus {

/// Collects what a run did for run.json (docs/formats/run.md): options, hashes, sizes, stages with
/// their wall time, peak memory, warnings.
class RunRecord {
 public:
  /// `command` is the subcommand's name, `options` the resolved options.
  RunRecord(const std::string& command, Json options);
  ~RunRecord();

  /// Runs `work` and records its wall time under `name`.
  template <typename Work>
  auto stage(const std::string& name, Work work) {
    const StageClock clock(*this, name);
    return work();
  }
  /// Sets a top-level field.
  void set(const std::string& key, Json value);
  /// Sets `places`: where each model lies that an option names, its commit where it is a snapshot
  /// of the Hugging Face cache. Pairs of the option's name in the record and the path; empty paths
  /// are left out.
  void set_places(std::initializer_list<std::pair<const char*, std::string>> paths);
  /// The record so far, with peak memory as of now.
  Json json() const;
  /// Writes run.json into `dir`, the last file of an output: its "files" names all that are there,
  /// so that a later run knows what it may replace (base/staged_directory.h). Throws Io.
  void write(const std::string& dir);

 private:
  class StageClock {
   public:
    StageClock(RunRecord& record, std::string name);
    ~StageClock();

   private:
    RunRecord& record_;
    std::string name_;
    double start_s_;
  };
  std::unique_ptr<Json> json_;
};

/// Sizes of a model: parameters, bytes, and per layer head counts and widths.
Json describe_model(const Model& model);

/// SHA-256 and size of each file that defines a Hugging Face directory's model.
Json hash_model_files(const std::string& dir);

}  // namespace prunus
