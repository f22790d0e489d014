#include "prunus/io/hf_directory.h"

#include <algorithm>
#include <filesystem>
#include <fnmatch.h>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

// What stock software looks for beside the weights of a language model. Everything else stays
// behind: other forms of the unpruned weights, adapters, training states, notes about the original.
constexpr const char* kCompanions[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "tokenizer.model.v*",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
    "*.py",  // of models whose code comes with them
    "generation_config.json",
    "chat_template*.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICEN[CS]E*",
    "COPYING*",
    "NOTICE*",
    "USE_POLICY*",
};
// Folders that travel with all files of these endings in them.
constexpr std::pair<const char*, const char*> kCompanionFolders[] = {
    {"additional_chat_templates", "*.jinja"}};

// Those that only a model with images needs.
constexpr const char* kOfImages[] = {"preprocessor_config.json", "processor_config.json"};

bool is_of_images(const std::string& name) {
  return std::find(std::begin(kOfImages), std::end(kOfImages), name) != std::end(kOfImages);
}

bool is_companion(const std::string& name) {
  return std::any_of(std::begin(kCompanions), std::end(kCompanions),
                     [&](const char* glob) { return ::fnmatch(glob, name.c_str(), 0) == 0; });
}

}  // namespace

void check_model_directory(const std::string& dir) {
  std::error_code ignored;
  const auto status = fs::status(dir, ignored);
  PRUNUS_CHECK(fs::exists(status), NotFound, "'", dir,
               "': no such directory; Prunus reads local Hugging Face directories, download the "
               "model first");
  PRUNUS_CHECK(fs::is_directory(status), NotFound, dir,
               ": is a file, expected a Hugging Face directory with config.json and "
               "model.safetensors");
}

std::vector<std::string> regular_files(const std::string& dir) {
  check_model_directory(dir);
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator item(dir, error);
  for (; !error && item != fs::directory_iterator(); item.increment(error)) {
    std::error_code ignored;  // a dangling link is no regular file
    if (item->is_regular_file(ignored)) names.push_back(item->path().filename().string());
  }
  PRUNUS_CHECK(!error, Io, dir, ": cannot list the directory: ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

Json read_config(const std::string& dir) {
  check_model_directory(dir);
  const std::string path = (fs::path(dir) / "config.json").string();
  std::error_code ignored;
  PRUNUS_CHECK(fs::exists(path, ignored), NotFound, dir,
               ": has no config.json; is this a Hugging Face model directory?");
  Json config = read_json(path, uint64_t{1} << 26);
  PRUNUS_CHECK(config.is_object(), Corrupt, path, ": is ", config.type_name(),
               ", expected an object");
  return config;
}

std::vector<std::string> companion_files(const std::string& dir) {
  auto names = regular_files(dir);
  std::erase_if(names, [](const std::string& name) { return !is_companion(name); });
  for (const auto& [folder, glob] : kCompanionFolders) {
    const std::string path = (fs::path(dir) / folder).string();
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) continue;
    for (const std::string& name : regular_files(path)) {
      if (::fnmatch(glob, name.c_str(), 0) == 0)
        names.push_back((fs::path(folder) / name).string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

void copy_companions(const std::string& from_dir, const std::string& to_dir, Companions which) {
  for (const auto& name : companion_files(from_dir)) {
    if (which == Companions::OfText && is_of_images(name)) continue;
    const fs::path from = fs::path(from_dir) / name;
    const fs::path to = fs::path(to_dir) / name;
    std::error_code error;
    if (fs::is_directory(to_dir, error)) fs::create_directory(to.parent_path(), error);
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
    PRUNUS_CHECK(!error, Io, from.string(), ": cannot copy to ", to.string(), ": ",
                 error.message());
    fs::permissions(to, fs::perms::owner_write, fs::perm_options::add, error);
    PRUNUS_CHECK(!error, Io, to.string(), ": cannot make writable: ", error.message());
  }
}

}  // namespace prunus
