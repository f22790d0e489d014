#include "prunus/export/model_output.h"

#include <limits>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/io/gguf.h"
#include "prunus/job/output.h"

namespace prunus {

ModelOutput::ModelOutput(StagedDirectory::Options options) {
  if (is_gguf_path(options.path)) {
    file_.emplace(
        StagedFile::Options{std::move(options.path), options.replace, std::move(options.inputs)});
  } else {
    directory_.emplace(std::move(options));
  }
}

void write_and_check(const Model& model, const OutputForm& form, const ModelOutput& out,
                     const WrittenModel& written, RunRecord& record, const CheckTokens& tokens) {
  Json notes;
  const FormJob job{.source = written.source,
                    .out = out.model_path(),
                    .quant = written.quant,
                    .values = written.values,
                    .record = &notes,
                    .layers = written.layers,
                    .tokens = written.tokens};
  record.stage("write", [&] { form.write(model, job); });
  const bool exact = notes.is_null() || notes.at("exact").get<bool>();
  const double tolerance = exact ? form.tolerance : std::numeric_limits<double>::infinity();
  const OutputCheck check = record.stage("check", [&] {
    return check_output(model, out.model_path(), tokens.ids, tokens.device, tolerance);
  });
  record.set("output_check", to_json(check));
  if (!notes.is_null()) record.set(std::string(form.format), std::move(notes));
}

}  // namespace prunus
