#include "prunus/recover/recover.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/io/checkpoint.h"
#include "prunus/pipeline/output.h"
#include "prunus/pipeline/run_record.h"
#include "prunus/pipeline/work_folder.h"
#include "prunus/recover/merge.h"
#include "prunus/recover/peft.h"
#include "prunus/recover/recover_job.h"
#include "prunus/recover/repaired_source.h"
#include "prunus/recover/teacher.h"
#include "prunus/text/tokenizer.h"

namespace prunus {
namespace {

// One run: models, rows, work folder, and what becomes of them.
class Recovery {
 public:
  Recovery(RecoverJob& job, const std::string& staging)
      : job_(job),
        staging_(staging),
        model_(open_model(job.model_dir)),
        tokenizer_(load_tokenizer(job.model_dir)),
        record_("recover", options_json(job)) {
    if (!job.teacher_dir.empty()) open_teacher();
    work_ = std::make_unique<WorkFolder>(
        WorkFolder::Options{.path = work_path(job.out_dir, job.work_dir),
                            .identity = identity().dump(2),
                            .resume = job.resume,
                            .force = job.force,
                            .ram_bytes = -1,
                            .resumable = true});
    data_ = record_.stage("data", [&] {
      return read_rows(job_, model_, teacher(), *tokenizer_, work_->path(), record_);
    });
    resolve_steps(job_, data_);
  }

  Json run() {
    try {
      if (job_.mode == RecoverMode::SubBlock) {
        repair();
      } else {
        train();
      }
    } catch (const Error& error) {
      const bool final = error.kind() != ErrorKind::Interrupted && error.kind() != ErrorKind::Io &&
                         error.kind() != ErrorKind::Numeric;
      if (final) work_->discard();
      throw;
    }
    return record_.json();
  }

  void commit(StagedDirectory& out) {
    out.commit();
    work_->discard();
  }

 private:
  const Model* teacher() const { return teacher_.get(); }

  void open_teacher() {
    teacher_ = std::make_unique<Model>(open_model(job_.teacher_dir));
    PRUNUS_CHECK(teacher_->config().vocab_size == model_.config().vocab_size, InvalidArgument,
                 job_.teacher_dir, ": has a vocabulary of ", teacher_->config().vocab_size,
                 ", the model one of ", model_.config().vocab_size,
                 "; a teacher must speak of the same tokens");
    job_.trainer.seams =
        job_.trainer.loss.seam > 0
            ? seams_of(dense_layers(job_.model_dir, model_, *teacher_), teacher_->layer_count())
            : std::vector<Seam>();
    PRUNUS_CHECK(job_.trainer.loss.seam <= 0 || !job_.trainer.seams.empty(), InvalidArgument,
                 "--seam-weight: no layer was removed between kept ones, so there is no seam");
  }

  Json identity() const {
    Json json = options_json(job_);
    json.update(model_identity(job_.model_dir, job_.device));
    if (teacher_) json["teacher_files"] = model_identity(job_.teacher_dir, job_.device)["weights"];
    for (const std::string& file : {job_.data, job_.valid_file}) {
      if (!file.empty() && file != "self") json["files"][file] = job_.texts->open(file)->sha256;
    }
    return json;
  }

  // Says what the run will take, decides about recomputing, refuses what cannot fit.
  void plan_memory_of(int64_t trained) {
    MemoryRequest request{.full = job_.mode == RecoverMode::Full,
                          .trained = trained,
                          .lora = job_.lora,
                          .int8_base = job_.model.int8_base,
                          .optimizer = job_.trainer.optimizer.kind,
                          .micro_rows = std::min(job_.trainer.micro_rows, job_.trainer.batch_rows),
                          .batch_rows = job_.trainer.batch_rows,
                          .row_tokens = longest_row(data_),
                          .half_compute = job_.model.compute == at::kBFloat16,
                          .teacher = job_.trainer.loss.needs_teacher() ? teacher() : nullptr,
                          .teacher_resident = job_.teacher_resident,
                          .seams = static_cast<int64_t>(job_.trainer.seams.size())};
    const MemoryPlan plan =
        settle_memory(model_, request, job_.checkpointing, job_.device, job_.ignore_memory);
    job_.model.checkpoint_blocks = request.checkpoint_blocks;
    record_.set("memory_plan", to_json(plan));
  }

  TrainModel make_train_model() {
    if (job_.mode == RecoverMode::Full) {
      plan_memory_of(model_.parameters());
      return TrainModel(model_, job_.device, job_.model);
    }
    LoraAdapter adapter = job_.adapter_dir.empty()
                              ? LoraAdapter::make(model_, job_.lora, job_.seed, job_.device)
                              : read_peft(job_.adapter_dir, model_);
    adapter.options.dropout = job_.lora.dropout;
    plan_memory_of(adapter.parameter_count());
    return TrainModel(model_, job_.device, job_.model, std::move(adapter));
  }

  void train() {
    TrainModel trained = record_.stage("open", [&] { return make_train_model(); });
    std::unique_ptr<Teacher> teacher_states;
    if (job_.trainer.loss.needs_teacher()) {
      std::vector<int64_t> layers;
      for (const Seam& seam : job_.trainer.seams) layers.push_back(seam.teacher_layer);
      teacher_states =
          std::make_unique<Teacher>(*teacher_, job_.device, job_.teacher_resident, layers);
    }
    job_.trainer.state_dir = work_->path();
    job_.trainer.matmul_flops = measure_matmul_flops(job_.device, job_.model.compute);
    Trainer trainer(trained, data_, teacher_states.get(), job_.trainer);
    TrainLog log(work_->path() + "/train.jsonl", TrainStateFolder::holds_state(work_->path()));
    const TrainOutcome outcome = record_.stage(
        "train", [&] { return trainer.run([&](const Json& line) { log.add(line); }); });
    record_.set("training", to_json(outcome));
    if (trained.sparse_weights() > 0) record_.set("sparse_weights", trained.sparse_weights());
    log.copy_to(staging_ + "/train.jsonl");
    if (job_.adapter_only) {
      write_adapter(trained);
    } else {
      write_merged(trained);
    }
  }

  void write_adapter(const TrainModel& trained) {
    record_.stage("write",
                  [&] { write_peft(*trained.adapter(), model_, job_.model_dir, staging_); });
    // What is read back is what was meant.
    const LoraAdapter again = read_peft(staging_, model_);
    for (const auto& [place, pair] : trained.adapter()->pairs) {
      const LoraPair& other = again.pairs.at(place);
      PRUNUS_CHECK(at::equal(other.a, pair.a.detach().cpu()) &&
                       at::equal(other.b, pair.b.detach().cpu()) && other.scale == pair.scale,
                   OutputCheck, staging_, ": the adapter of layer ", place.first,
                   " reads back differently");
    }
    finish(model_);
  }

  void write_merged(const TrainModel& trained) {
    const auto source = trained.result_source();
    const Model result(model_.config(), source);
    write_result(result);
    if (const auto* merged = dynamic_cast<const MergedSource*>(source.get())) {
      const MergeReport report = merged->report();
      if (report.sparse_weights > 0) {
        record_.set("merge", {{"sparse_weights", report.sparse_weights},
                              {"kept_zeros", report.kept_zeros},
                              {"update_norm", report.update_norm},
                              {"masked_norm", report.masked_norm}});
      }
    }
    finish(result);
  }

  void write_result(const Model& result) {
    record_.stage("write", [&] { write_model(result, job_.model_dir, staging_); });
    const OutputCheck check = record_.stage("check", [&] {
      return check_output(result, staging_, probe_ids(model_.config()), job_.device);
    });
    record_.set("output_check", to_json(check));
    const std::string plan = job_.model_dir + "/plan.json";
    if (std::filesystem::exists(plan)) write_file(staging_ + "/plan.json", read_file(plan));
    if (!data_.valid.empty()) {
      record_.set("valid_loss_written", record_.stage("validate", [&] {
        return mean_nll(open_model(staging_), data_.valid, job_.device);
      }));
    }
  }

  void repair() {
    const std::vector<int64_t> layers = dense_layers(job_.model_dir, model_, *teacher_);
    RepairedLayers repaired(model_, work_->path());
    if (!data_.valid.empty()) {
      record_.set("valid_loss_before", mean_nll(model_, data_.valid, job_.device));
    }
    const auto results = record_.stage("repair", [&] {
      return repair_sub_blocks(
          model_, *teacher_, layers, calibration_rows(data_.train, job_.sub_block_rows),
          job_.device, job_.sub_block,
          [&](int layer, const std::vector<RepairedTensor>& tensors) {
            repaired.keep(layer, tensors);
          },
          [&](int layer) { return repaired.restore(layer); });
    });
    Json parts = Json::array();
    for (const SubBlockResult& one : results) {
      parts.push_back({{"layer", one.layer},
                       {"part", one.part},
                       {"error_before", one.error_before},
                       {"error_after", one.error_after},
                       {"kept", one.kept},
                       {"steps", one.steps}});
    }
    record_.set("sub_blocks", parts);
    const Model result(model_.config(),
                       std::make_shared<RepairedSource>(model_.shared_source(), repaired));
    write_result(result);
    finish(result);
  }

  void finish(const Model& result) {
    record_.set("source", describe_model(model_));
    record_.set("result", describe_model(result));
    record_.stage("hash", [&] {
      record_.set("source_files", hash_model_files(job_.model_dir));
      if (!job_.adapter_only) record_.set("result_files", hash_model_files(staging_));
    });
    write_file(staging_ + "/run.json", record_.json().dump(2) + "\n");
  }

  RecoverJob& job_;
  std::string staging_;
  Model model_;
  std::unique_ptr<Model> teacher_;
  std::unique_ptr<Tokenizer> tokenizer_;
  RunRecord record_;
  std::unique_ptr<WorkFolder> work_;
  DataSplit data_;
};

}  // namespace

Json run_recover(RecoverJob job) {
  check_job(job);
  StagedDirectory out(job.out_dir, job.force);
  Recovery recovery(job, out.staging_path());
  const Json record = recovery.run();
  recovery.commit(out);
  return record;
}

Json run_merge(const MergeJob& job) {
  StagedDirectory out(job.out_dir, job.force);
  RunRecord record("merge", {{"model", job.model_dir},
                             {"adapter", job.adapter_dir},
                             {"out", job.out_dir},
                             {"device", job.device.str()}});
  const Model model = open_model(job.model_dir);
  const auto source =
      std::make_shared<MergedSource>(model.shared_source(), read_peft(job.adapter_dir, model));
  const Model merged(model.config(), source);
  const std::string& staging = out.staging_path();
  record.stage("write", [&] { write_model(merged, job.model_dir, staging); });
  record.set("output_check", to_json(record.stage("check", [&] {
               return check_output(merged, staging, probe_ids(model.config()), job.device);
             })));
  const MergeReport report = source->report();
  record.set("merge", {{"sparse_weights", report.sparse_weights},
                       {"kept_zeros", report.kept_zeros},
                       {"update_norm", report.update_norm},
                       {"masked_norm", report.masked_norm}});
  record.set("source", describe_model(model));
  record.set("result", describe_model(merged));
  record.set("result_files", hash_model_files(staging));
  write_file(staging + "/run.json", record.json().dump(2) + "\n");
  out.commit();
  return record.json();
}

}  // namespace prunus
