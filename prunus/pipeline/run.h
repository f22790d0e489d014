#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/pipeline/prune.h"

namespace prunus {

/// One whole `prunus prune`: directory in, directory out.
struct PruneJob {
  std::string model_dir;
  std::string out_dir;
  std::string calib_file;  ///< text or jsonl; needed where needs_calibration(options)
  /// Instead of calib_file, several texts: Structure::Vocab alone.
  std::vector<std::string> calib_files = {};
  int64_t calib_samples = 10;
  int64_t calib_tokens = 64;  ///< per sample
  /// Nobody asked for these tokens: no more than the model's context are taken.
  bool tokens_by_default = false;
  /// Nobody asked for these samples: so many are enough where the text has no more; 0: all.
  int64_t fewest_samples = 0;
  PruneOptions options;
  std::string target_params;        ///< "0.8x" or a count; resolved against the model
  std::string target_bytes;         ///< "4GiB"
  std::string target_latency = {};  ///< "0.6x"
  std::string ram;                  ///< for hidden states; empty: half of what is free
  std::string work_dir;             ///< for spilled states and resuming; empty: OUT.work
  bool resume = false;              ///< go on where an interrupted run of the same job stopped
  std::string form = {};            ///< as `prunus export --form`; empty: what Prunus reads best
  bool dry_run = false;             ///< write plan.json and run.json only
  bool force = false;               ///< replace what stands at out_dir
  std::string recipe = {};          ///< file that options were read from, for the record
  std::string model_asked =
      {};  ///< the model as it was asked for, for the record; empty: model_dir
};

/// One whole `prunus apply`: execute a saved plan.
struct ApplyJob {
  std::string model_dir;
  std::string plan_file;
  std::string out_dir;
  /// The text of a plan with a solver; empty: where the plan says.
  std::string calib_file = {};
  std::string form = {};  ///< as PruneJob's
  at::Device device = at::Device(at::kCPU);
  bool force = false;
  std::string recipe = {};       ///< as PruneJob's
  std::string model_asked = {};  ///< as PruneJob's
};

/// Runs the job. The output directory appears complete or not at all: weights, config.json,
/// tokenizer files, plan.json, run.json; then it is opened again and its logits are checked.
/// Returns what run.json holds. Throws as its parts. After an interruption, or where the system
/// refused (disk full, out of memory), the work folder stays if a block was finished; on any other
/// error nothing is left behind.
Json run_prune(const PruneJob& job);
/// The options that run_prune() records, every choice made. Throws as resolve(), open_model().
Json prune_options(const PruneJob& job);
Json run_apply(const ApplyJob& job);

}  // namespace prunus
