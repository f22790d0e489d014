#include "prunus/export/export_job.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/named.h"
#include "prunus/base/run_schema.h"
#include "prunus/export/bitmask_file.h"
#include "prunus/export/choose.h"
#include "prunus/export/gguf_file.h"
#include "prunus/export/hf_directory.h"
#include "prunus/export/model_output.h"
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

// The format that the name of the output says.
std::string format_of(const ExportJob& job) {
  if (!job.format.empty()) forms_of(job.format);
  const std::string by_name = job.out_dir.ends_with(".gguf") ? "gguf" : "hf";
  const bool bitmask = job.format == kBitmaskFormat;
  PRUNUS_CHECK(
      job.format.empty() || (job.format == "gguf") == (by_name == "gguf"), InvalidArgument,
      "--out ", job.out_dir,
      ": the name of a GGUF file ends in .gguf, that of a directory does not; --format is ",
      job.format);
  PRUNUS_CHECK(job.values.empty() || bitmask, InvalidArgument, "--values is of --format bitmask");
  PRUNUS_CHECK(job.quant.empty() || by_name == "gguf", InvalidArgument,
               "--quant is of --format gguf; a directory has --dtype");
  return bitmask ? job.format : by_name;
}

void write_staged(const ExportJob& job, const OutputForm& form, const Model& model,
                  RunRecord& record) {
  ModelOutput out({.path = job.out_dir, .replace = job.force, .inputs = {job.model_dir}});
  const std::string& staging = out.staging_path();
  require_space(staging, static_cast<uint64_t>(model.bytes()), "the exported model");
  WrittenModel written{.source = job.model_dir, .quant = job.quant, .values = job.values};
  write_and_check(model, form, out, written, record,
                  {.ids = probe_ids(model.config()), .device = job.device});
  record.set(kResult, describe_model(open_model(out.model_path())));
  record.set("result_files", hash_model_files(out.model_path()));
  record.write(staging);
  out.commit();
}

}  // namespace

Json run_export(const ExportJob& job) {
  RunRecord record("export", options_json(recorded(export_table, job)));
  const Model model = written_as(open_model(job.model_dir), job.dtype);
  if (!job.quant.empty()) check_gguf_quant(job.quant);
  const OutputForm& form = choose_form(format_of(job), job.form, model.config());
  record.set("form", {{"format", form.format}, {"form", form.name}});
  record.set("forms", legality_table(model.config()));
  record.set(kSource, describe_model(model));
  if (job.dry_run) return record.json();
  record.stage("hash", [&] { record.set(kSourceFiles, hash_model_files(job.model_dir)); });
  write_staged(job, form, model, record);
  return record.json();
}

}  // namespace prunus
