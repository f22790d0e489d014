#include "prunus/recover/recover.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/adapter/merge.h"
#include "prunus/adapter/peft.h"
#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/base/staged_directory.h"
#include "prunus/io/checkpoint.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/job/run_record.h"
#include "prunus/job/work_folder.h"
#include "prunus/model/matmul.h"
#include "prunus/model/overlay.h"
#include "prunus/model/text_part.h"
#include "prunus/recover/dense_layers.h"
#include "prunus/recover/recover_job.h"
#include "prunus/recover/recover_table.h"
#include "prunus/text/tokenizer.h"
#include "prunus/train/mean_nll.h"
#include "prunus/train/teacher.h"
#include "prunus/train/train_log.h"
#include "prunus/train/train_settings.h"

namespace prunus {
namespace {

// One run: models, rows, work folder, and what becomes of them.
bool is_recovery_state(const std::string& file_name) {
  return is_training_state(file_name) || is_overlay_file(file_name);
}

// An adapter names the tensors of the model that it is for, and those of a multimodal one are
// called otherwise.
void check_adapter_fits(const RecoverJob& job) {
  if (!job.adapter_only) return;
  const auto text = text_part(read_config(job.model_dir), job.model_dir + "/config.json");
  PRUNUS_CHECK(!text, Unsupported, job.model_dir, ": is a ",
               text ? text->multimodal->model_type : "",
               " model, of which the language model is trained: an adapter alone would not fit it. "
               "Leave --adapter-only out, or write the language model first: prunus prune MODEL "
               "--out TEXT --method l1 --ratio 0");
}

class Recovery {
 public:
  // `work` is set as soon as there is a folder: it outlives what fails here.
  Recovery(RecoverJob& job, const std::string& staging, std::unique_ptr<WorkFolder>& work)
      : job_(job),
        staging_(staging),
        work_(work),
        model_(open_model(job.model_dir)),
        tokenizer_(load_tokenizer(job.model_dir)),
        record_("recover", options_json(recorded(recover_table, job))) {
    record_.set_places({{"model", job.model_dir}, {"teacher", job.teacher_dir}});
    if (!job.made_by.is_null()) record_.set("prune", job.made_by);
    check_adapter_fits(job);
    if (!job.teacher_dir.empty()) open_teacher();
    if (job.mode == RecoverMode::Lora) open_adapter();
    work_ = std::make_unique<WorkFolder>(
        WorkFolder::Options{.path = work_path(job.out_dir, job.work_dir),
                            .identity = identity().dump(2),
                            .resume = job.resume,
                            .force = job.force,
                            .is_state = is_recovery_state});
    data_ = record_.stage("data", [&] {
      return read_rows(job_, model_, teacher(), *tokenizer_, work_->path(), record_);
    });
    resolve_steps(job_, data_);
  }

  Json run() {
    if (job_.mode == RecoverMode::SubBlock) {
      repair();
    } else {
      train();
    }
    return record_.json();
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

  // What cannot be trained or written is refused before any work.
  void open_adapter() {
    adapter_ = job_.adapter_dir.empty()
                   ? LoraAdapter::make(model_, job_.lora, job_.seed, job_.device)
                   : read_peft(job_.adapter_dir, untied(model_));
    adapter_->check_trainable(job_.adapter_dir);
    adapter_->options.dropout = job_.lora.dropout;
    for (auto& [place, pair] : adapter_->pairs) {
      pair.a = pair.a.to(job_.device);
      pair.b = pair.b.to(job_.device);
    }
    if (job_.adapter_only) write_adapter(*adapter_);
  }

  Json identity() const {
    Json json = job_identity(job_);
    json.update(model_identity(job_.model_dir, job_.device));
    json["teacher_files"] =
        teacher_ ? model_identity(job_.teacher_dir, job_.device)["weights"] : Json(nullptr);
    return json;
  }

  // On the disk: values, two states of the optimiser, the state before while the next is written,
  // the best values; and the result.
  void require_room(int64_t trained) const {
    constexpr uint64_t kStateBytes = 2 * 3 * sizeof(float) + sizeof(float);
    require_space(work_->path(), static_cast<uint64_t>(trained) * kStateBytes,
                  "the training's state");
    if (!job_.adapter_only) {
      require_space(staging_, static_cast<uint64_t>(model_.bytes()), "the result");
    }
  }

  // Says what the run will take, decides about recomputing, refuses what cannot fit.
  void plan_memory_of(int64_t trained) {
    require_room(trained);
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
    plan_memory_of(adapter_->parameter_count());
    return TrainModel(model_, job_.device, job_.model, std::move(*adapter_));
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
    if (!outcome.changes.empty()) record_.set("resumed_with", to_json(outcome.changes));
    if (trained.sparse_weights() > 0) record_.set("sparse_weights", trained.sparse_weights());
    log.copy_to(staging_ + "/train.jsonl", outcome.steps);
    if (job_.adapter_only) {
      record_.stage("write", [&] { write_adapter(*trained.adapter()); });
      finish(model_);
    } else {
      write_merged(trained);
    }
  }

  // What is read back is what was meant.
  void write_adapter(const LoraAdapter& adapter) {
    write_peft(adapter, model_, job_.model_dir, staging_);
    check_written_peft(adapter, model_, staging_);
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
    require_room(0);
    LayerFiles repaired(model_, work_->path());
    if (!data_.valid.empty()) {
      record_.set("valid_loss_before", mean_nll(model_, data_.valid, job_.device));
    }
    const auto results = record_.stage("repair", [&] {
      return repair_sub_blocks(
          model_, *teacher_, layers, calibration_rows(data_.train, job_.sub_block_rows),
          job_.device, job_.sub_block,
          [&](int layer, const std::vector<OverlayTensor>& tensors) {
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
                       std::make_shared<OverlaySource>(model_.shared_source(), repaired));
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
    record_.write(staging_);
  }

  RecoverJob& job_;
  std::string staging_;
  std::unique_ptr<WorkFolder>& work_;
  Model model_;
  std::unique_ptr<Model> teacher_;
  std::unique_ptr<Tokenizer> tokenizer_;
  RunRecord record_;
  std::optional<LoraAdapter> adapter_;  // until it is trained
  DataSplit data_;
};

}  // namespace

Json run_recover(RecoverJob job) {
  check_job(job);
  StagedDirectory out(
      {.path = job.out_dir,
       .replace = job.force,
       .inputs = {job.model_dir, job.teacher_dir, job.adapter_dir, job.valid_file,
                  job.data == "self" ? "" : job.data, work_path(job.out_dir, job.work_dir)}});
  std::unique_ptr<WorkFolder> work;
  return with_last_words(work, [&] {
    resolve_chat(job.rows, *job.texts, job.data, job.valid_file, job.model_dir, job.chat_template);
    const Json record = Recovery(job, out.staging_path(), work).run();
    out.commit();
    work->discard();
    return record;
  });
}

Json run_merge(const MergeJob& job) {
  StagedDirectory out(
      {.path = job.out_dir, .replace = job.force, .inputs = {job.model_dir, job.adapter_dir}});
  RunRecord record("merge", options_json(recorded(merge_table, job)));
  record.set_places({{"model", job.model_dir}});
  const Model model = open_model(job.model_dir);
  const Model apart = untied(model);
  LoraAdapter adapter = read_peft(job.adapter_dir, apart);
  const bool own_head = model.config().tie_word_embeddings && touches_vocabulary(adapter, apart);
  if (own_head) {
    log_info(
        "the adapter changes the embedding or the head, which are one tensor in the model: the "
        "result has a head of its own");
  }
  const Model& base = own_head ? apart : model;
  const auto source = std::make_shared<MergedSource>(base.shared_source(), std::move(adapter));
  const Model merged(base.config(), source);
  const std::string& staging = out.staging_path();
  require_space(staging, static_cast<uint64_t>(model.bytes()), "the merged model");
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
  record.write(staging);
  out.commit();
  return record.json();
}

}  // namespace prunus
