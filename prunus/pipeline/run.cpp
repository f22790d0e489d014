#include "prunus/pipeline/run.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/output.h"
#include "prunus/pipeline/run_record.h"
#include "prunus/text/dataset.h"
#include "prunus/text/tokenizer.h"

namespace prunus {
namespace {

Json options_json(const PruneJob& job) {
  const PruneOptions& options = job.options;
  Json layers = nullptr;
  if (options.layers) layers = {options.layers->begin, options.layers->end};
  return {{"model", job.model_dir},
          {"out", job.out_dir},
          {"method", options.method},
          {"criterion", criterion_of(find_method(options.method), options.taylor).name},
          {"ratio", options.ratio},
          {"layers", layers},
          {"calib", job.calib_file},
          {"calib_samples", job.calib_samples},
          {"calib_tokens", job.calib_tokens},
          {"seed", options.seed},
          {"device", options.device.str()},
          {"dry_run", job.dry_run}};
}

// Calibration windows as the job asks for, or none where the method needs none.
std::vector<TokenBatch> calibration_batches(const PruneJob& job, RunRecord& record) {
  if (!needs_calibration(job.options)) return {};
  PRUNUS_CHECK(!job.calib_file.empty(), InvalidArgument, "method ", job.options.method,
               " learns from text: pass --calib FILE (plain text, or jsonl with a `text` field) of "
               "the kind the model will see");
  const auto tokenizer = load_tokenizer(job.model_dir);
  const auto windows = sample_windows(
      *tokenizer, job.calib_file,
      {.samples = job.calib_samples, .tokens = job.calib_tokens, .seed = job.options.seed});
  record.set(
      "calibration",
      {{"file", job.calib_file}, {"sha256", sha256_file(job.calib_file)}, {"windows", windows}});
  return make_batches(windows);
}

double fraction(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

// Cuts, writes, checks; fills the record. `ids` are the check's tokens.
void execute(const Model& model, const Plan& plan, const std::string& model_dir,
             const std::string& staging, const at::Tensor& ids, at::Device device,
             RunRecord& record) {
  const Model pruned = shrink(model, plan.keeps());
  record.stage("write", [&] { write_model(pruned, model_dir, staging); });
  const OutputCheck check =
      record.stage("check", [&] { return check_output(pruned, staging, ids, device); });
  record.set("output_check", {{"tokens", check.tokens},
                              {"max_abs_diff", check.max_abs_diff},
                              {"max_abs_logit", check.max_abs_logit}});
}

void finish(const Model& model, const Plan& plan, const std::string& model_dir,
            const std::string& staging, bool weights_written, RunRecord& record) {
  const Model pruned = shrink(model, plan.keeps());
  record.set("source", describe_model(model));
  record.stage("hash", [&] { record.set("source_files", hash_model_files(model_dir)); });
  record.set("result", describe_model(pruned));
  record.set("parameters_removed", 1.0 - fraction(pruned.parameters(), model.parameters()));
  if (weights_written) record.set("result_files", hash_model_files(staging));
  write_file(staging + "/plan.json", to_json(plan).dump() + "\n");
  write_file(staging + "/run.json", record.json().dump(2) + "\n");
}

// The first windows of the calibration, cut to 64 tokens, or drawn ids.
at::Tensor check_ids(const std::vector<TokenBatch>& batches, const ModelConfig& config) {
  if (batches.empty()) return probe_ids(config);
  const at::Tensor& ids = batches[0].ids;
  return ids.narrow(0, 0, 1).narrow(1, 0, std::min<int64_t>(64, ids.size(1)));
}

}  // namespace

Json run_prune(const PruneJob& job) {
  RunRecord record("prune", options_json(job));
  StagedDirectory out(job.out_dir, job.force);
  const Model model = open_model(job.model_dir);
  const auto batches =
      record.stage("calibration text", [&] { return calibration_batches(job, record); });
  PlanResult planned = record.stage("plan", [&] { return make_plan(model, batches, job.options); });
  planned.plan.config_sha256 = sha256_file(job.model_dir + "/config.json");
  if (!batches.empty()) record.set("calibration_loss", planned.calibration_loss);
  if (!job.dry_run) {
    execute(model, planned.plan, job.model_dir, out.staging_path(),
            check_ids(batches, model.config()), job.options.device, record);
  }
  finish(model, planned.plan, job.model_dir, out.staging_path(), !job.dry_run, record);
  out.commit();
  return record.json();
}

Json run_apply(const ApplyJob& job) {
  RunRecord record("apply", {{"model", job.model_dir},
                             {"plan", job.plan_file},
                             {"out", job.out_dir},
                             {"device", job.device.str()}});
  StagedDirectory out(job.out_dir, job.force);
  const Model model = open_model(job.model_dir);
  const Plan plan = plan_from_json(read_json(job.plan_file), job.plan_file);
  check_plan(plan, model);
  if (!plan.config_sha256.empty() &&
      plan.config_sha256 != sha256_file(job.model_dir + "/config.json")) {
    log_warning(
        job.plan_file +
        ": the plan was made for a model with another config.json; sizes fit, so it is applied");
  }
  execute(model, plan, job.model_dir, out.staging_path(), probe_ids(model.config()), job.device,
          record);
  finish(model, plan, job.model_dir, out.staging_path(), true, record);
  out.commit();
  return record.json();
}

}  // namespace prunus
