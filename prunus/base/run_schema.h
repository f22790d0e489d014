#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// What run.json is (docs/formats/run.md): the one record that every command writes or prints as
/// JSON. It is here, below everything, because the writers (job, eval, pipeline, recover) and the
/// readers (report, which may include only base) have no other folder in common.
inline constexpr std::string_view kRunFormat = "prunus-run";
/// Grows when a key goes or changes its meaning; keys may join without it.
inline constexpr int kRunVersion = 1;

/// Names of the keys, for writers and readers alike.
namespace run_key {
// Of every record.
inline constexpr const char* kFormat = "format";
inline constexpr const char* kVersion = "version";
inline constexpr const char* kPrunus = "prunus";
inline constexpr const char* kCommand = "command";
inline constexpr const char* kOptions = "options";
inline constexpr const char* kThreads = "threads";
inline constexpr const char* kMatmul = "matmul";
inline constexpr const char* kHalfProducts = "half_products";
inline constexpr const char* kPlaces = "places";
inline constexpr const char* kStages = "stages";
inline constexpr const char* kFiles = "files";
inline constexpr const char* kPeakMemoryBytes = "peak_memory_bytes";
// Of an entry of stages, of files and of a model's sizes.
inline constexpr const char* kName = "name";
inline constexpr const char* kSeconds = "seconds";
inline constexpr const char* kFile = "file";
inline constexpr const char* kSha256 = "sha256";
inline constexpr const char* kParameters = "parameters";
inline constexpr const char* kBytes = "bytes";
inline constexpr const char* kMacs = "macs_64_tokens";
inline constexpr const char* kMacsLlmPruner = "macs_64_tokens_llm_pruner";
// Of what makes a model.
inline constexpr const char* kSource = "source";
inline constexpr const char* kSourceFiles = "source_files";
inline constexpr const char* kResult = "result";
inline constexpr const char* kParametersRemoved = "parameters_removed";
inline constexpr const char* kData = "data";
inline constexpr const char* kTraining = "training";
inline constexpr const char* kValidLoss = "valid_loss";
inline constexpr const char* kValidLossBefore = "valid_loss_before";
inline constexpr const char* kValidLossWritten = "valid_loss_written";
// Of eval.
inline constexpr const char* kModel = "model";
inline constexpr const char* kResults = "results";
inline constexpr const char* kTasks = "tasks";
inline constexpr const char* kLlmPrunerTable = "llm_pruner_table";  ///< in kTasks: the means
inline constexpr const char* kRelative = "relative";
inline constexpr const char* kKl = "kl";
// Of bench.
inline constexpr const char* kDevice = "device";
inline constexpr const char* kModels = "models";
inline constexpr const char* kCases = "cases";
inline constexpr const char* kRatios = "ratios";
inline constexpr const char* kPeakDeviceBytes = "peak_device_bytes";
// Of verify.
inline constexpr const char* kVerify = "verify";
// Of compare.
inline constexpr const char* kRows = "rows";
}  // namespace run_key

/// Whether a JSON object says of itself that it is a run's record, of whatever version.
bool is_run(const Json& json);

/// Holds a record to the schema: the keys of every record, then those of its command, with what is
/// in them as far as the schema tells. Keys that it does not know are let pass: a later version may
/// have written them. `where` names the record in messages.
/// Throws Corrupt naming the first key that is missing or of another type by its path
/// ("stages[1].seconds"); also for another format, a later version, an unknown command.
void check_run(const Json& run, const std::string& where);

/// Top-level keys of a record that the schema does not have for its command.
/// Throws as check_run, where the command is not known.
std::vector<std::string> unknown_run_keys(const Json& run);

}  // namespace prunus
