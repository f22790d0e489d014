#include "prunus/recover/train_rows.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/text/chat_format.h"

namespace prunus {
namespace {

constexpr int64_t kRowTokens = 256;  // where the model's context allows

// The request's options with what depends on the model.
DataOptions row_options(const DataRequest& request, const ModelConfig& config) {
  const int64_t context = config.max_position_embeddings;
  DataOptions options = request.rows;
  if (options.row_tokens == 0) options.row_tokens = std::min(kRowTokens, context);
  PRUNUS_CHECK(options.row_tokens <= context, InvalidArgument, "--row-tokens ", options.row_tokens,
               " is longer than the model's context of ", context);
  if (!request.valid_file.empty()) options.valid_fraction = 0;
  return options;
}

void warn_of_spelled_marks(const DataRequest& request, const Tokenizer& tokenizer) {
  const bool chatml = request.rows.chat && request.chat_template == "chatml";
  if (!chatml || tokenizer.encode("<|im_start|>").size() == 1) return;
  log_warning(
      "--chat-template chatml: the tokenizer has no <|im_start|>, which is spelled in pieces; the "
      "turns cost more tokens, and stock software that stops at <|im_end|> will not");
}

// Rows of the validation file in place of a share of the data. Returns its documents.
int64_t read_validation(const DataRequest& request, const DataOptions& options,
                        const Tokenizer& tokenizer, DataSplit& split) {
  DataSplit valid = read_train_data(*request.texts.open(request.valid_file), tokenizer, options);
  split.valid = std::move(valid.train);
  if (static_cast<int64_t>(split.valid.size()) > options.max_valid_rows) {
    split.valid.resize(static_cast<size_t>(options.max_valid_rows));
  }
  return valid.documents;
}

Json described(const DataRequest& request, const DataSplit& split) {
  Json data = {{"documents", split.documents},
               {"train_rows", split.train.size()},
               {"valid_rows", split.valid.size()},
               {"cut", split.cut},
               {"unscored", split.unscored}};
  if (request.data != "self") {
    data.update(describe(*request.texts.open(request.data)));
    data["read_as"] = data_format_name(split.format);
  }
  if (request.rows.chat) data["chat_template"] = request.rows.chat->description();
  return data;
}

}  // namespace

DataSplit read_rows(const DataRequest& request, const ModelConfig& config,
                    const Tokenizer& tokenizer, RunRecord& record) {
  const DataOptions options = row_options(request, config);
  warn_of_spelled_marks(request, tokenizer);
  DataSplit split = request.data == "self"
                        ? request.draw(options)
                        : read_train_data(*request.texts.open(request.data), tokenizer, options);
  int64_t valid_documents = 0;
  if (!request.valid_file.empty()) {
    valid_documents = read_validation(request, options, tokenizer, split);
  }
  Json data = described(request, split);
  if (!request.valid_file.empty()) {
    data["valid_sha256"] = request.texts.open(request.valid_file)->sha256;
    data["valid_documents"] = valid_documents;
  }
  request.texts.forget();
  record.set("data", data);
  log_info(c10::str("data: ", split.documents, " documents, ", split.train.size(),
                    " rows to train on, ", split.valid.size(), " for validation"));
  return split;
}

void resolve_steps(TrainerOptions& trainer, const TrainLength& length, size_t rows) {
  trainer.max_steps = length.max_steps;
  if (trainer.max_steps == 0) {
    const double steps =
        length.epochs * static_cast<double>(rows) / static_cast<double>(trainer.batch_rows);
    trainer.max_steps = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(steps)));
  }
  const double warmup = length.warmup_fraction * static_cast<double>(trainer.max_steps);
  trainer.schedule.warmup_steps =
      length.warmup_steps >= 0 ? length.warmup_steps : static_cast<int64_t>(std::ceil(warmup));
  trainer.schedule.total_steps = trainer.max_steps;
}

}  // namespace prunus
