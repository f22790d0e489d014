#include "prunus/recover/recover_job.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/named.h"
#include "prunus/base/nearest.h"
#include "prunus/base/optional_json.h"
#include "prunus/base/progress.h"
#include "prunus/calib/stream.h"
#include "prunus/io/tensor_file.h"
#include "prunus/recover/recover_table.h"
#include "prunus/recover/train_rows.h"
#include "prunus/text/chat_format.h"

namespace prunus {

namespace fs = std::filesystem;

namespace {

constexpr std::pair<std::string_view, RecoverMode> kModes[] = {
    {"lora", RecoverMode::Lora},
    {"full", RecoverMode::Full},
    {"sub-block", RecoverMode::SubBlock},
};
constexpr std::pair<std::string_view, Packing> kPackings[] = {{"auto", Packing::Auto},
                                                              {"pack", Packing::Pack},
                                                              {"pad", Packing::Pad},
                                                              {"fill", Packing::Fill}};

constexpr const char* kSelfRows = "/self.tensors";

// SHA-256 of each of `files` that is there; of none where there is no `dir`.
Json hashes_of(const std::string& dir, const std::vector<std::string>& files) {
  Json hashes = Json::object();
  for (const std::string& file : files) {
    const std::string path = dir + "/" + file;
    if (!dir.empty() && fs::exists(path)) hashes[file] = sha256_file(path);
  }
  return hashes;
}

// Ids alone: in drawn rows all but the first are scored.
std::vector<at::Tensor> to_tensors(const std::vector<TrainRow>& rows) {
  std::vector<at::Tensor> tensors;
  for (const TrainRow& row : rows) tensors.push_back(at::tensor(row.ids, at::kLong));
  return tensors;
}

std::vector<TrainRow> from_tensors(const std::vector<at::Tensor>& tensors) {
  std::vector<TrainRow> rows;
  for (const at::Tensor& one : tensors) {
    const at::Tensor ids = one.contiguous();
    TrainRow row;
    row.ids.assign(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + ids.numel());
    row.scored.assign(row.ids.size(), 1);
    row.scored.front() = 0;
    rows.push_back(std::move(row));
  }
  return rows;
}

// The last rows become the validation rows: all are independent draws.
DataSplit split_self(std::vector<TrainRow> rows, const DataOptions& options) {
  DataSplit split;
  split.documents = static_cast<int64_t>(rows.size());
  auto valid =
      static_cast<int64_t>(std::ceil(options.valid_fraction * static_cast<double>(rows.size())));
  valid = std::min({valid, options.max_valid_rows, split.documents - 1});
  const auto first = rows.end() - static_cast<std::ptrdiff_t>(std::max<int64_t>(0, valid));
  split.valid.assign(std::make_move_iterator(first), std::make_move_iterator(rows.end()));
  rows.erase(first, rows.end());
  split.train = std::move(rows);
  return split;
}

DataSplit self_rows(const RecoverJob& job, const DataOptions& rows_as, const Model& source,
                    const Tokenizer& tokenizer, const std::string& work_path) {
  const std::string saved = work_path + kSelfRows;
  std::vector<TrainRow> rows;
  if (fs::exists(saved)) {
    rows = from_tensors(load_tensors(saved));
  } else {
    SelfDataOptions options = job.self;
    options.row_tokens = std::min(rows_as.row_tokens, source.config().max_position_embeddings);
    options.seed = job.seed;
    rows = generate_rows(source, tokenizer, job.device, options);
    save_durably(saved, to_tensors(rows));
  }
  return split_self(std::move(rows), rows_as);
}

}  // namespace

std::string_view mode_name(RecoverMode mode) { return name_of(kModes, mode); }

std::string_view packing_name(Packing packing) { return name_of(kPackings, packing); }

void set_defaults(RecoverJob& job, RecoverMode mode, std::string_view preset) {
  job.mode = mode;
  job.rows.valid_fraction = 0.05;
  job.rows.row_tokens = 0;
  job.trainer.schedule.lr = mode == RecoverMode::Full ? 3e-4 : 1e-3;
  job.trainer.optimizer.weight_decay = mode == RecoverMode::Full ? 0.01 : 0.0;
  if (preset.empty()) return;
  const std::vector<std::string> presets = {"llm-pruner"};
  PRUNUS_CHECK(preset == presets[0], InvalidArgument, "--preset ", unknown_word(preset, presets));
  PRUNUS_CHECK(mode == RecoverMode::Lora, InvalidArgument,
               "--preset llm-pruner trains adapters; leave out --full and --sub-block");
  job.lora = {.r = 8, .alpha = 16, .dropout = 0.05};
  job.rows.packing = Packing::Pad;
  job.rows.row_tokens = 256;
  job.rows.max_valid_rows = 2000;
  job.epochs = 2;
  job.warmup_steps = 100;
  job.trainer.schedule = {.kind = ScheduleKind::Linear, .lr = 1e-4};
  job.trainer.batch_rows = 64;
  job.trainer.micro_rows = 4;
  job.trainer.clip = 1.0;
}

RecoverJob recover_defaults(RecoverMode mode, std::string_view preset) {
  RecoverJob job;
  set_defaults(job, mode, preset);
  return job;
}

Json tokenizer_identity(const std::string& dir) {
  return hashes_of(dir, {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt",
                         "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"});
}

void resolve_chat(DataOptions& rows, TextFiles& texts, const std::string& data,
                  const std::string& valid, const std::string& model_dir,
                  const std::string& chat_template) {
  const auto is_chat = [&](const std::string& file) {
    return !file.empty() && file != "self" &&
           data_format(*texts.open(file), rows.format) == DataFormat::Chat;
  };
  if (is_chat(data) || is_chat(valid)) {
    rows.chat = std::make_shared<const ChatFormat>(model_dir, chat_template);
    return;
  }
  PRUNUS_CHECK(chat_template.empty(), InvalidArgument, "--chat-template ", chat_template, ": ",
               data,
               " holds no conversations to write by it; leave it out, or pass --format chat "
               "for instruction records as turns");
}

Json chat_identity(const DataOptions& rows) {
  return rows.chat ? rows.chat->description().at("sha256") : Json();
}

Json job_identity(const RecoverJob& job) {
  Json json = identity_json(recorded(recover_table, job));
  json["data_sha256"] = job.data == "self" ? "self" : job.texts->open(job.data)->sha256;
  json["valid_sha256"] = job.valid_file.empty() ? "" : job.texts->open(job.valid_file)->sha256;
  json["adapter_files"] =
      hashes_of(job.adapter_dir, {"adapter_config.json", "adapter_model.safetensors"});
  json["tokenizer_files"] = tokenizer_identity(job.model_dir);
  json["chat_template_sha256"] = chat_identity(job.rows);
  json["plan_file"] = hashes_of(job.model_dir, {"plan.json"});
  return json;
}

void check_job(const RecoverJob& job) {
  PRUNUS_CHECK(
      !job.data.empty(), InvalidArgument,
      "--data FILE is needed: plain text, JSON lines with \"text\", or instruction records; or "
      "--data self for text drawn from the model");
  PRUNUS_CHECK(job.mode == RecoverMode::Lora || !job.adapter_only, InvalidArgument,
               "--adapter-only is for adapters; leave out --full and --sub-block");
  PRUNUS_CHECK(job.mode == RecoverMode::Lora || job.adapter_dir.empty(), InvalidArgument,
               "--adapter is for adapters; leave out --full and --sub-block");
  PRUNUS_CHECK(job.mode != RecoverMode::SubBlock || !job.teacher_dir.empty(), InvalidArgument,
               "--sub-block needs --teacher MODEL: the unpruned model whose parts are matched");
  const LossWeights& loss = job.trainer.loss;
  PRUNUS_CHECK(!loss.needs_teacher() || !job.teacher_dir.empty(), InvalidArgument,
               "distillation needs --teacher MODEL: the unpruned model");
  PRUNUS_CHECK(
      loss.ce >= 0 && loss.kl >= 0 && loss.seam >= 0 && loss.ce + loss.kl > 0 &&
          std::isfinite(loss.ce + loss.kl + loss.seam) && loss.temperature > 0 && loss.top_k >= 0,
      InvalidArgument, "loss weights: --ce-weight ", loss.ce, ", --kd-weight ", loss.kl,
      ", --seam-weight ", loss.seam, ", --kd-temperature ", loss.temperature, ", --kd-top-k ",
      loss.top_k, "; expected none below 0, ce or kd above 0, and a temperature above 0");
  PRUNUS_CHECK(job.epochs > 0 && job.max_steps >= 0, InvalidArgument, "--epochs ", job.epochs,
               ", --max-steps ", job.max_steps, "; expected epochs above 0 and steps 0 or more");
  PRUNUS_CHECK(job.trainer.micro_rows >= 1 && job.trainer.batch_rows >= 1, InvalidArgument,
               "--batch ", job.trainer.batch_rows, ", --micro-batch ", job.trainer.micro_rows,
               "; expected at least 1");
}

DataSplit read_rows(const RecoverJob& job, const Model& model, const Model* teacher,
                    const Tokenizer& tokenizer, const std::string& work_path, RunRecord& record) {
  DataRequest request{.data = job.data,
                      .valid_file = job.valid_file,
                      .texts = *job.texts,
                      .rows = job.rows,
                      .chat_template = job.chat_template};
  request.rows.seed = job.seed;
  request.draw = [&](const DataOptions& options) {
    return self_rows(job, options, teacher != nullptr ? *teacher : model, tokenizer, work_path);
  };
  return read_rows(request, model.config(), tokenizer, record);
}

void resolve_steps(RecoverJob& job, const DataSplit& data) {
  const TrainLength length{job.epochs, job.max_steps, job.warmup_steps, job.warmup_fraction};
  resolve_steps(job.trainer, length, data.train.size());
  job.trainer.seed = job.seed;
  job.sub_block.seed = job.seed;
}

int64_t longest_row(const DataSplit& data) {
  size_t longest = 2;
  for (const auto* rows : {&data.train, &data.valid}) {
    for (const TrainRow& row : *rows) longest = std::max(longest, row.ids.size());
  }
  return static_cast<int64_t>(longest);
}

Json to_json(const TrainOutcome& outcome) {
  return {{"steps", outcome.steps},
          {"kept_after_step", outcome.best_step},
          {"stopped_early", outcome.stopped_early},
          {"resumed", outcome.resumed},
          {"train_loss", outcome.train_loss},
          {"valid_loss_before", or_null(outcome.valid_before)},
          {"valid_loss", or_null(outcome.valid_best)},
          {"valid_loss_last", or_null(outcome.valid_last)},
          {"tokens", outcome.tokens},
          {"targets", outcome.targets},
          {"seconds", outcome.seconds},
          {"tokens_per_second", outcome.tokens_per_second()},
          {"mfu", outcome.mfu}};
}

std::vector<TokenBatch> calibration_rows(const std::vector<TrainRow>& rows, int64_t most) {
  constexpr int64_t kBatchTokens = 4096;
  std::map<size_t, std::vector<std::vector<int64_t>>> by_length;
  const size_t count = std::min(rows.size(), static_cast<size_t>(std::max<int64_t>(1, most)));
  for (size_t i = 0; i < count; ++i) by_length[rows[i].ids.size()].push_back(rows[i].ids);
  std::vector<TokenBatch> batches;
  for (const auto& [length, windows] : by_length) {
    if (length < 2) continue;
    for (TokenBatch& batch : make_batches(windows, kBatchTokens)) {
      batches.push_back(std::move(batch));
    }
  }
  return batches;
}

}  // namespace prunus
