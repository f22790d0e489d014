#include "prunus/export/export_job.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/named.h"
#include "prunus/base/run_schema.h"
#include "prunus/base/staged_directory.h"
#include "prunus/export/choose.h"
#include "prunus/export/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/job/run_record.h"

namespace prunus {
namespace {

using namespace run_key;

constexpr std::pair<std::string_view, at::ScalarType> kDtypes[] = {
    {"f32", at::kFloat}, {"f16", at::kHalf}, {"bf16", at::kBFloat16}};

// What is written, and what it is compared with.
Model written_as(const Model& model, const std::string& dtype) {
  return dtype.empty() ? model : in_dtype(model, parse_named(kDtypes, dtype, "--dtype"));
}

void write_staged(const ExportJob& job, const OutputForm& form, const Model& model,
                  RunRecord& record) {
  StagedDirectory out({.path = job.out_dir, .replace = job.force, .inputs = {job.model_dir}});
  const std::string& staging = out.staging_path();
  require_space(staging, static_cast<uint64_t>(model.bytes()), "the exported model");
  record.stage("write", [&] { form.write(model, {.source = job.model_dir, .out = staging}); });
  const OutputCheck check = record.stage("check", [&] {
    return check_output(model, staging, probe_ids(model.config()), job.device, form.tolerance);
  });
  record.set("output_check", to_json(check));
  record.set(kResult, describe_model(open_model(staging)));
  record.set("result_files", hash_model_files(staging));
  record.write(staging);
  out.commit();
}

}  // namespace

Json run_export(const ExportJob& job) {
  RunRecord record("export", options_json(recorded(export_table, job)));
  const Model model = written_as(open_model(job.model_dir), job.dtype);
  const OutputForm& form = choose_form(job.format, job.form, model.config());
  record.set("form", {{"format", form.format}, {"form", form.name}});
  record.set("forms", legality_table(model.config()));
  record.set(kSource, describe_model(model));
  if (job.dry_run) return record.json();
  record.stage("hash", [&] { record.set(kSourceFiles, hash_model_files(job.model_dir)); });
  write_staged(job, form, model, record);
  return record.json();
}

}  // namespace prunus
