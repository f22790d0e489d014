#include <set>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/export/export_job.h"
#include "prunus/export/form.h"
#include "prunus/job/job_options.h"
#include "prunus/job/program_options.h"

namespace prunus {
namespace {

std::string list_of(const std::set<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ",") + word;
  return list;
}

std::string all_formats() {
  std::set<std::string> formats;
  for (const OutputForm* form : forms::all()) formats.emplace(form->format);
  return list_of(formats);
}

// "hf: stock (…), …"
std::string form_help() {
  std::string help;
  for (const OutputForm* form : forms::all()) {
    help +=
        c10::str(help.empty() ? "" : "; ", form->format, " ", form->name, ": ", form->description);
  }
  return help;
}

constexpr Option<ExportJob> kExportOptions[] = {
    {.info = {.key = "model",
              .help = kModelHelp,
              .positional = "MODEL",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MODEL(ExportJob, model_dir, model_asked)},
    {.info = {.key = "format",
              .help = "what to write: hf (a directory), gguf (a file) or bitmask (a directory for "
                      "Prunus alone: zeros are not stored, and decoding does not read them); by "
                      "default hf or gguf, as the name of OUT says",
              .all_choices = all_formats},
     .member = PRUNUS_MEMBER(ExportJob, format)},
    {.info = {.key = "form",
              .help = "the form (the best that stock software opens as it is).",
              .more_help = form_help},
     .member = PRUNUS_MEMBER(ExportJob, form)},
    {.info = {.key = "quant",
              .help = "GGUF: type of the matrices (as they are): f32, f16, bf16, q8_0, q6_k, q5_k, "
                      "q4_k or q4_0; norms stay f32, the head has at least q6_k",
              .choices = "f32,f16,bf16,q8_0,q6_k,q5_k,q4_k,q4_0"},
     .member = PRUNUS_MEMBER(ExportJob, quant)},
    {.info = {.key = "values",
              .help = "bitmask: what is not 0 as it is (bf16, the default), or in 8 bits with a "
                      "scale for each row (int8)",
              .choices = "bf16,int8"},
     .member = PRUNUS_MEMBER(ExportJob, values)},
    {.info = {.key = "dtype",
              .help = "of the weights (as they are): f32, f16 or bf16",
              .choices = "f32,f16,bf16"},
     .member = PRUNUS_MEMBER(ExportJob, dtype)},
    {.info = {.key = "out",
              .help = "what to write; new, or an empty directory; FILE.gguf for a GGUF file",
              .required = true,
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(ExportJob, out_dir)},
    PRUNUS_RECIPE_OPTION(ExportJob, "config", "recipe"),
    {.info = {.key = "dry-run",
              .help = "show which form it would be and who opens it; write nothing",
              .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(ExportJob, dry_run)},
    {.info = {.key = "force",
              .help = "replace OUT where it is an earlier result",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(ExportJob, force)},
    PRUNUS_DEVICE_OPTION(ExportJob, device)};

}  // namespace

const OptionTable<ExportJob> export_table{.command = "export",
                                          .options = kExportOptions,
                                          .fresh = +[] { return ExportJob(); },
                                          .others = kProgramKeys};

}  // namespace prunus
