#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/staged_directory.h"
#include "prunus/base/staged_file.h"

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

}  // namespace prunus
