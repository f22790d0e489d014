#pragma once
#include <string>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

// A model is named by a path: a Hugging Face directory, or a GGUF file (is_gguf_path()).

/// config.json of a model: that of the directory, or what gguf_config() makes of the file.
/// Throws as read_config() or gguf_config().
Json read_model_config(const std::string& model);

/// SHA-256 of config.json; of a GGUF file, of the text that an import of it would write.
std::string model_config_sha256(const std::string& model);

/// Paths of the files that hold the weights, sorted. Throws as Checkpoint::open() or
/// GgufFile::open().
std::vector<std::string> weight_files(const std::string& model);
/// The same with config.json, where the model has one.
std::vector<std::string> model_files(const std::string& model);

/// What stands beside the weights, as a Hugging Face directory. Of such a directory it is that
/// directory. Of a GGUF file it is a temporary one, removed with this object, with what the
/// metadata says: config.json, and the tokenizer's files where the file has a tokenizer.
class SideFiles {
 public:
  /// Throws as read_model_config() and gguf_tokenizer_files(); Io.
  explicit SideFiles(const std::string& model);
  ~SideFiles();
  SideFiles(const SideFiles&) = delete;
  SideFiles& operator=(const SideFiles&) = delete;

  const std::string& dir() const { return dir_; }

 private:
  std::string dir_;
  bool temporary_ = false;
};

}  // namespace prunus
