#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "prunus/job/run_record.h"
#include "prunus/model/config.h"
#include "prunus/train/train_data.h"
#include "prunus/train/trainer.h"

namespace prunus {

/// Where the rows of a training job come from.
struct DataRequest {
  std::string data;                ///< text or jsonl; "self": `draw`
  std::string valid_file;          ///< empty: a share of the data
  TextFiles& texts;                ///< data and valid_file
  DataOptions rows;                ///< row_tokens 0: 256, or the context where that is shorter
  std::string chat_template = {};  ///< as given on the command line
  /// Rows of "self", by the options as they were resolved.
  std::function<DataSplit(const DataOptions& options)> draw = {};
};

/// Training and validation rows. Sets "data" in the record.
/// Throws InvalidArgument where rows are longer than the model's context; as read_train_data.
DataSplit read_rows(const DataRequest& request, const ModelConfig& config,
                    const Tokenizer& tokenizer, RunRecord& record);

/// How long a job trains.
struct TrainLength {
  double epochs = 1;          ///< where max_steps is 0
  int64_t max_steps = 0;      ///< 0: from epochs
  int64_t warmup_steps = -1;  ///< −1: from warmup_fraction
  double warmup_fraction = 0;
};

/// Sets the trainer's steps and warm-up for so many training rows.
void resolve_steps(TrainerOptions& trainer, const TrainLength& length, size_t rows);

}  // namespace prunus
