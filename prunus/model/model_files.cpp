#include "prunus/model/model_files.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/temporary.h"
#include "prunus/io/checkpoint.h"
#include "prunus/io/gguf.h"
#include "prunus/io/hf_directory.h"
#include "prunus/model/gguf_config.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

std::string config_text(const Json& config) { return config.dump(2) + "\n"; }

std::string made_folder() {
  std::string path =
      temporary_folder("import the GGUF file first (prunus import)") + "/prunus-model-XXXXXX";
  PRUNUS_CHECK(::mkdtemp(path.data()) != nullptr, Io, path,
               ": cannot make a temporary folder: ", std::strerror(errno));
  return path;
}

}  // namespace

Json read_model_config(const std::string& model) {
  return is_gguf_path(model) ? gguf_config(*GgufFile::open(model)) : read_config(model);
}

std::string model_config_sha256(const std::string& model) {
  return is_gguf_path(model) ? sha256(config_text(read_model_config(model)))
                             : sha256_file(model + "/config.json");
}

std::vector<std::string> weight_files(const std::string& model) {
  return is_gguf_path(model) ? std::vector{model} : Checkpoint::open(model).files();
}

std::vector<std::string> model_files(const std::string& model) {
  std::vector<std::string> paths = weight_files(model);
  if (!is_gguf_path(model)) paths.push_back(model + "/config.json");
  return paths;
}

SideFiles::SideFiles(const std::string& model) : dir_(model) {
  if (!is_gguf_path(model)) return;
  const auto file = GgufFile::open(model);
  const Json config = gguf_config(*file);
  dir_ = made_folder();
  temporary_ = true;
  write_file(dir_ + "/config.json", config_text(config));
}

SideFiles::~SideFiles() {
  std::error_code ignored;
  if (temporary_) fs::remove_all(dir_, ignored);
}

}  // namespace prunus
