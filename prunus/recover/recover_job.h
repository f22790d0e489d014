#pragma once
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/job/run_record.h"
#include "prunus/recover/recover.h"

namespace prunus {

// Parts of run_recover: what a job's options mean, and where its rows come from.

std::string_view mode_name(RecoverMode mode);
std::string_view packing_name(Packing packing);

/// Sets what depends on the mode and the preset, as recover_defaults().
void set_defaults(RecoverJob& job, RecoverMode mode, std::string_view preset);

/// SHA-256 of each file of a tokenizer that is there, by name.
Json tokenizer_identity(const std::string& dir);

/// What a resumed run must share with the run before it, besides the model (model_identity()): the
/// options of Recorded::Identity, and where options name files, these by their content.
Json job_identity(const RecoverJob& job);

/// Sets rows.chat where `data` or `valid` (empty: none) holds conversations: `model_dir`'s way of
/// writing them, or that of `chat_template`. Throws as ChatFormat; InvalidArgument for a
/// `chat_template` that nothing would be written by.
void resolve_chat(DataOptions& rows, TextFiles& texts, const std::string& data,
                  const std::string& valid, const std::string& model_dir,
                  const std::string& chat_template = "");

/// For a job's identity: of the chat template, null where there is none.
Json chat_identity(const DataOptions& rows);

/// Throws InvalidArgument for options that contradict each other or are out of range.
void check_job(const RecoverJob& job);

/// Training and validation rows: from the job's files, or drawn from the teacher (the model itself
/// where there is none) and kept in `work_path` for a resumed run. Sets "data" in the record.
DataSplit read_rows(const RecoverJob& job, const Model& model, const Model* teacher,
                    const Tokenizer& tokenizer, const std::string& work_path, RunRecord& record);

/// Steps from epochs, warm-up steps from their fraction.
void resolve_steps(RecoverJob& job, const DataSplit& data);

/// Ids of the longest row, at least 2.
int64_t longest_row(const DataSplit& data);

/// What training came to, as in run.json.
Json to_json(const TrainOutcome& outcome);

/// At most `most` rows as batches of equal length.
std::vector<TokenBatch> calibration_rows(const std::vector<TrainRow>& rows, int64_t most);

}  // namespace prunus
