#include "prunus/recover/pretrain.h"

#include <cmath>
#include <filesystem>
#include <memory>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/staged_directory.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/job/run_record.h"
#include "prunus/job/work_folder.h"
#include "prunus/model/layout.h"
#include "prunus/model/matmul.h"
#include "prunus/recover/recover_job.h"
#include "prunus/recover/recover_table.h"
#include "prunus/recover/train_rows.h"
#include "prunus/text/tokenizer.h"
#include "prunus/train/mean_nll.h"
#include "prunus/train/train_log.h"
#include "prunus/train/train_settings.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr double kWarmupFraction = 0.05;
constexpr double kDefaultDeviation = 0.02;

std::string config_file(const std::string& config) {
  return fs::is_directory(config) ? config + "/config.json" : config;
}

const char* dtype_name(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kHalf ? "float16" : "bfloat16";
}

bool is_bias(Role role) { return role_name(role).ends_with("_bias"); }

// The configuration with what this run decides.
Json model_json(const PretrainJob& job) {
  const std::string path = config_file(job.config);
  Json json = read_json(path);
  PRUNUS_CHECK(json.is_object(), Corrupt, path, ": not a JSON object");
  json["torch_dtype"] = dtype_name(job.dtype);
  return json;
}

double deviation(const PretrainJob& job, const Json& config) {
  if (job.init_deviation > 0) return job.init_deviation;
  for (const char* key : {"initializer_range", "init_std"}) {
    if (config.contains(key) && config[key].is_number()) return config[key];
  }
  return kDefaultDeviation;
}

Json identity_of(const PretrainJob& job, const Json& config) {
  Json json = identity_json(recorded(train_table, job));
  json["device"] = job.device.str();
  json["prunus"] = PRUNUS_VERSION;
  json["threads"] = at::get_num_threads();
  json["config_json"] = config;
  json["data_sha256"] = job.texts->open(job.data)->sha256;
  json["valid_sha256"] = job.valid_file.empty() ? "" : job.texts->open(job.valid_file)->sha256;
  json["tokenizer_files"] = tokenizer_identity(tokenizer_dir(job));
  json["chat_template_sha256"] = chat_identity(job.rows);
  return json;
}

// A directory with config.json and the tokenizer's files, as a model's companions are taken from.
void make_skeleton(const std::string& dir, const PretrainJob& job, const Json& config) {
  std::error_code error;
  fs::create_directories(dir, error);
  PRUNUS_CHECK(!error, Io, dir, ": cannot create directory: ", error.message());
  copy_companions(tokenizer_dir(job), dir);
  write_file(dir + "/config.json", config.dump(2) + "\n");
}

// The rows as a recovery reads them, and steps from epochs.
DataSplit prepare(PretrainJob& job, const Model& model, const Tokenizer& tokenizer,
                  RunRecord& record) {
  DataRequest request{
      .data = job.data, .valid_file = job.valid_file, .texts = *job.texts, .rows = job.rows};
  request.rows.seed = job.seed;
  DataSplit split = read_rows(request, model.config(), tokenizer, record);
  const TrainLength length{job.epochs, job.max_steps, job.warmup_steps, kWarmupFraction};
  resolve_steps(job.trainer, length, split.train.size());
  job.trainer.seed = job.seed;
  return split;
}

void train(PretrainJob& job, const Model& model, const DataSplit& data,
           const std::string& work_path, const std::string& staging, RunRecord& record) {
  MemoryRequest request;
  request.full = true;
  request.trained = model.parameters();
  request.optimizer = job.trainer.optimizer.kind;
  request.micro_rows = std::min(job.trainer.micro_rows, job.trainer.batch_rows);
  request.batch_rows = job.trainer.batch_rows;
  request.row_tokens = longest_row(data);
  request.half_compute = job.model.compute == at::kBFloat16;
  record.set("memory_plan", to_json(settle_memory(model, request, job.checkpointing, job.device,
                                                  job.ignore_memory)));
  job.model.checkpoint_blocks = request.checkpoint_blocks;
  TrainModel trained(model, job.device, job.model);
  job.trainer.state_dir = work_path;
  job.trainer.matmul_flops = measure_matmul_flops(job.device, job.model.compute);
  Trainer trainer(trained, data, nullptr, job.trainer);
  TrainLog log(work_path + "/train.jsonl", TrainStateFolder::holds_state(work_path));
  const TrainOutcome outcome =
      record.stage("train", [&] { return trainer.run([&](const Json& line) { log.add(line); }); });
  record.set("training", to_json(outcome));
  if (!outcome.changes.empty()) record.set("resumed_with", to_json(outcome.changes));
  log.copy_to(staging + "/train.jsonl", outcome.steps);
  const Model result = trained.result();
  record.stage("write", [&] { write_model(result, work_path + "/skeleton", staging); });
  record.set("output_check", to_json(record.stage("check", [&] {
               return check_output(result, staging, probe_ids(model.config()), job.device);
             })));
  if (!data.valid.empty()) {
    record.set("valid_loss_written", mean_nll(open_model(staging), data.valid, job.device));
  }
  record.set("result", describe_model(result));
}

}  // namespace

std::string tokenizer_dir(const PretrainJob& job) {
  if (!job.tokenizer_dir.empty()) return job.tokenizer_dir;
  const fs::path folder = fs::path(config_file(job.config)).parent_path();
  return folder.empty() ? "." : folder.string();
}

at::Tensor InitialSource::read(const TensorInfo& tensor) const {
  if (tensor.spec->rank == 1) {
    return at::full(tensor.shape, is_bias(tensor.spec->role) ? 0 : norm_weight_, at::dtype(dtype_));
  }
  const std::string digest = sha256(c10::str(seed_, "/", tensor.name)).substr(0, 16);
  at::Generator generator =
      at::make_generator<at::CPUGeneratorImpl>(std::stoull(digest, nullptr, 16));
  const Role role = tensor.spec->role;
  const bool output = role == Role::OProj || role == Role::DownProj || role == Role::SharedDownProj;
  const double scale = output ? 1 / std::sqrt(2.0 * static_cast<double>(layers_)) : 1.0;
  return at::empty(tensor.shape, at::kFloat).normal_(0, deviation_ * scale, generator).to(dtype_);
}

PretrainJob pretrain_defaults() {
  PretrainJob job;
  job.rows.valid_fraction = 0.02;
  job.rows.row_tokens = 0;
  job.rows.packing = Packing::Pack;
  job.trainer.schedule = {.kind = ScheduleKind::Cosine, .lr = 3e-3, .final_fraction = 0.02};
  job.trainer.optimizer = {
      .kind = OptimizerOptions::Kind::Muon, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1};
  return job;
}

Json run_pretrain(PretrainJob job) {
  StagedDirectory out({.path = job.out_dir,
                       .replace = job.force,
                       .inputs = {config_file(job.config), tokenizer_dir(job), job.data,
                                  job.valid_file, work_path(job.out_dir, job.work_dir)}});
  RunRecord record("train", options_json(recorded(train_table, job)));
  record.set_places({{"tokenizer", tokenizer_dir(job)}});
  const Json json = model_json(job);
  ModelConfig config = parse_config(json, config_file(job.config));
  const auto tokenizer = load_tokenizer(tokenizer_dir(job));
  PRUNUS_CHECK(config.vocab_size >= tokenizer->vocab_size(), InvalidArgument,
               config_file(job.config), ": vocab_size is ", config.vocab_size,
               ", but the tokenizer gives ids up to ", tokenizer->vocab_size() - 1,
               "; set vocab_size to at least ", tokenizer->vocab_size());
  const auto source =
      std::make_shared<InitialSource>(config, deviation(job, json), job.seed, job.dtype);
  const Model model(std::move(config), source);
  std::unique_ptr<WorkFolder> work;
  return with_last_words(work, [&] {
    resolve_chat(job.rows, *job.texts, job.data, job.valid_file, tokenizer_dir(job));
    work = std::make_unique<WorkFolder>(
        WorkFolder::Options{.path = work_path(job.out_dir, job.work_dir),
                            .identity = identity_of(job, json).dump(2),
                            .resume = job.resume,
                            .force = job.force,
                            .is_state = is_training_state});
    make_skeleton(work->path() + "/skeleton", job, json);
    const DataSplit data =
        record.stage("data", [&] { return prepare(job, model, *tokenizer, record); });
    train(job, model, data, work->path(), out.staging_path(), record);
    record.set("result_files", hash_model_files(out.staging_path()));
    record.write(out.staging_path());
    out.commit();
    work->discard();
    return record.json();
  });
}

}  // namespace prunus
