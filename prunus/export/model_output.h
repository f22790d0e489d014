#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/staged_directory.h"
#include "prunus/base/staged_file.h"
#include "prunus/export/form.h"
#include "prunus/job/run_record.h"

namespace prunus {

/// Where a command puts a model: a directory, or, where the name ends in ".gguf", one file with its
/// records beside it (small.gguf, small.run.json). Appears complete or not at all.
class ModelOutput {
 public:
  /// Throws as StagedDirectory or StagedFile.
  explicit ModelOutput(StagedDirectory::Options options);

  /// As OutputForm has it: "hf" or "gguf".
  std::string_view format() const { return file_ ? "gguf" : "hf"; }
  /// The folder for records and whatever else there is, until commit().
  const std::string& staging_path() const {
    return file_ ? file_->staging_path() : directory_->staging_path();
  }
  /// The model in it: the folder itself, or the file.
  std::string model_path() const { return file_ ? file_->file_path() : staging_path(); }
  void commit() { file_ ? file_->commit() : directory_->commit(); }

 private:
  std::optional<StagedDirectory> directory_;
  std::optional<StagedFile> file_;
};

/// What is written, besides the model.
struct WrittenModel {
  const std::string& source;         ///< FormJob::source
  std::string quant = {};            ///< FormJob::quant
  std::string values = {};           ///< FormJob::values
  std::vector<int64_t> layers = {};  ///< FormJob::layers
  std::vector<int64_t> tokens = {};  ///< FormJob::tokens
};

/// What the written model is compared on.
struct CheckTokens {
  at::Tensor ids;  ///< int64 [batch, seq]
  at::Device device;
};

/// Writes a model in a form into `out`, opens it again and compares the logits. Sets
/// `output_check`, and what the form noted under the format's name, in the record. Where something
/// was rounded or quantised on the way, the difference is recorded, not judged. Throws as
/// OutputForm::write() and check_output().
void write_and_check(const Model& model, const OutputForm& form, const ModelOutput& out,
                     const WrittenModel& written, RunRecord& record, const CheckTokens& tokens);

}  // namespace prunus
