#pragma once
#include <string>

#include <c10/core/Device.h>

#include "prunus/base/json.h"
#include "prunus/base/option.h"

namespace prunus {

/// One whole `prunus export`: a model in another form.
struct ExportJob {
  std::string model_dir;
  std::string model_asked = {};  ///< as it was given, for the record
  std::string format;            ///< "hf", "gguf" or "bitmask"; empty: by the name of out_dir
  std::string form;              ///< empty: the best legal one that costs nothing
  std::string quant;             ///< gguf: type of the matrices; empty: as they are in the model
  std::string values;            ///< bitmask: "bf16" or "int8"; empty: bf16
  std::string dtype;             ///< "f32", "f16", "bf16"; empty: the dtypes of the model
  std::string out_dir;
  bool dry_run = false;  ///< say which form it would be, write nothing
  bool force = false;    ///< replace what stands at out_dir
  at::Device device = at::Device(at::kCPU);
  std::string recipe = {};  ///< file that options were read from, for the record
};
extern const OptionTable<ExportJob> export_table;

/// Runs the job. The output appears complete or not at all; then it is opened again and its logits
/// are compared with the model's (rounded to the dtype that is written). Returns what run.json
/// holds. Throws Unsupported where the form cannot hold the model: nothing is written then.
Json run_export(const ExportJob& job);

}  // namespace prunus
