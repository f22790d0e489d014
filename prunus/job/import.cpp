#include "prunus/job/import.h"

#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/base/staged_directory.h"
#include "prunus/io/gguf.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/job_options.h"
#include "prunus/job/output.h"
#include "prunus/job/program_options.h"
#include "prunus/job/run_record.h"

namespace prunus {
namespace {

constexpr std::pair<const char*, at::ScalarType> kDtypes[] = {
    {"f32", at::kFloat}, {"f16", at::kHalf}, {"bf16", at::kBFloat16}};

const char* config_name(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kHalf ? "float16" : "bfloat16";
}

constexpr Option<ImportJob> kImportOptions[] = {
    {.info = {.key = "model", .help = "the GGUF file", .positional = "FILE.gguf", .required = true},
     .member = PRUNUS_MEMBER(ImportJob, model)},
    {.info = {.key = "out", .help = "directory to write", .required = true},
     .member = PRUNUS_MEMBER(ImportJob, out_dir)},
    {.info = {.key = "dtype",
              .help = "of every weight; auto: f16 and bf16 weights as they are, all others f32",
              .choices = "auto,f32,f16,bf16"},
     .member =
         WordMember<ImportJob>{+[](ImportJob& job, const std::string& text, const std::string&) {
                                 job.dtype.reset();
                                 for (const auto& [name, dtype] : kDtypes) {
                                   if (text == name) job.dtype = dtype;
                                 }
                               },
                               +[](const ImportJob& job) {
                                 for (const auto& [name, dtype] : kDtypes) {
                                   if (job.dtype == dtype) return std::string(name);
                                 }
                                 return std::string("auto");
                               }}},
    PRUNUS_RECIPE_OPTION(ImportJob, "config", "recipe"),
    {.info = {.key = "force", .help = "replace what stands at --out", .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(ImportJob, force)},
    PRUNUS_DEVICE_OPTION(ImportJob, device)};

// What the weights are in now.
void write_dtype(const std::string& dir, at::ScalarType dtype) {
  Json config = read_config(dir);
  config["torch_dtype"] = config_name(dtype);
  write_file(dir + "/config.json", config.dump(2) + "\n");
}

}  // namespace

const OptionTable<ImportJob> import_table{.command = "import",
                                          .options = kImportOptions,
                                          .fresh = +[] { return ImportJob(); },
                                          .others = kProgramKeys};

Json run_import(const ImportJob& job) {
  PRUNUS_CHECK(is_gguf_path(job.model), InvalidArgument, job.model,
               ": import takes a GGUF file, whose name ends in .gguf");
  StagedDirectory out({.path = job.out_dir, .replace = job.force, .inputs = {job.model}});
  RunRecord record("import", options_json(recorded(import_table, job)));
  const Model opened = open_model(job.model);
  const Model model = job.dtype ? Model(opened.config(), std::make_shared<ConvertedSource>(
                                                             opened.shared_source(), *job.dtype))
                                : open_model(job.model);
  const std::string& staging = out.staging_path();
  require_space(staging, static_cast<uint64_t>(model.bytes()), "the imported model");
  record.stage("write", [&] {
    write_model(model, job.model, staging);
    if (job.dtype) write_dtype(staging, *job.dtype);
  });
  record.set("output_check", to_json(record.stage("check", [&] {
               return check_output(model, staging, probe_ids(model.config()), job.device);
             })));
  record.set("source", describe_model(opened));
  record.set("result", describe_model(model));
  record.stage("hash", [&] {
    record.set("source_files", hash_model_files(job.model));
    record.set("result_files", hash_model_files(staging));
  });
  record.write(staging);
  out.commit();
  return record.json();
}

}  // namespace prunus
