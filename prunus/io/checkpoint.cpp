#include "prunus/io/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/io/hf_directory.h"
#include "prunus/io/model_place.h"
#include "prunus/io/quote.h"
#include "prunus/io/safetensors_dtype.h"
#include "prunus/io/safetensors_index.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

std::string joined(const std::string& dir, const std::string& name) {
  return (fs::path(dir) / name).string();
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// A word of a shell's command line.
std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

// How to get what a snapshot of the Hugging Face cache lacks.
std::string resume_hint(const std::string& dir) {
  const ModelPlace place = place_of(dir);
  return place.commit.empty() ? "" : " " + download_command(place.hub_name, place.commit);
}

bool is_pickle(const std::string& name) {
  return name.starts_with("pytorch_model") && name.find(".bin") != std::string::npos;
}

// One line that makes a directory with safetensors of one without.
std::string conversion(const std::string& dir) {
  std::string from = dir;
  while (from.size() > 1 && from.back() == '/') from.pop_back();
  const std::string out = (fs::path(from).filename().string()) + "-safetensors";
  return "python3 -c \"import sys; from transformers import AutoModelForCausalLM as M, "
         "AutoTokenizer as T; d, o = sys.argv[1:]; M.from_pretrained(d, "
         "dtype='auto').save_pretrained(o); T.from_pretrained(d).save_pretrained(o)\" " +
         shell_word(from) + " " + shell_word(out);
}

[[noreturn]] void fail_without_weights(const std::string& dir) {
  constexpr size_t kShown = 12;
  const auto names = regular_files(dir);
  std::string found = names.empty() ? "nothing" : "";
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    found += (i == 0 ? "" : ", ") + quote(names[i]);
  }
  if (names.size() > kShown) found += c10::str(" and ", names.size() - kShown, " more");
  std::string hint;
  if (std::any_of(names.begin(), names.end(), is_pickle)) {
    hint =
        ". pytorch_model.bin is a pickle, which can run code when read, so Prunus does not read "
        "it; this writes the model with safetensors: " +
        conversion(dir);
  } else if (const std::string command = resume_hint(dir); !command.empty()) {
    hint = ". Not all of it was downloaded:" + command;
  }
  PRUNUS_FAIL(NotFound, dir, ": has neither ", kSingleFile, " nor ", kIndexFile, "; found ", found,
              hint);
}

// Every tensor of a file stands in the index, and in this file.
void check_against_index(const SafetensorsFile& file, const std::string& file_name,
                         const WeightMap& weight_map) {
  for (const auto& entry : file.entries()) {
    const auto listed = weight_map.find(entry.name);
    PRUNUS_CHECK(listed != weight_map.end(), Corrupt, file.path(), ": tensor ", quote(entry.name),
                 " is not in ", kIndexFile, "; files of two models mixed?");
    PRUNUS_CHECK(listed->second == file_name, Corrupt, file.path(), ": tensor ", quote(entry.name),
                 " is stored here, but ", kIndexFile, " places it in ", quote(listed->second),
                 "; stored twice, or files of two models mixed?");
  }
}

// Names that an index kept after the tensors had gone (merged, tied). A model that needs one of
// them misses it all the same, and says so.
void warn_of_stale_names(const std::string& dir, const WeightMap& weight_map,
                         const Checkpoint& checkpoint) {
  constexpr size_t kShown = 3;
  std::vector<std::string> stale;
  for (const auto& [name, shard] : weight_map) {
    if (!checkpoint.contains(name)) stale.push_back(quote(name));
  }
  if (stale.empty()) return;
  const size_t shown = std::min(kShown, stale.size());
  std::string names = stale[0];
  for (size_t i = 1; i < shown; ++i) names += ", " + stale[i];
  if (stale.size() > shown) names += c10::str(" and ", stale.size() - shown, " more");
  log_warning(c10::str(joined(dir, kIndexFile), ": names ", stale.size(), " of ", weight_map.size(),
                       " tensors that no file holds: ", names));
}

}  // namespace

Checkpoint Checkpoint::open(const std::string& dir) {
  check_model_directory(dir);
  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  if (exists(joined(dir, kSingleFile))) {
    checkpoint.add(SafetensorsFile::open(joined(dir, kSingleFile)));
    return checkpoint;
  }
  if (!exists(joined(dir, kIndexFile))) fail_without_weights(dir);
  const WeightMap weight_map = read_safetensors_index(joined(dir, kIndexFile));
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  for (const auto& shard : shards) {
    const std::string path = joined(dir, shard);
    PRUNUS_CHECK(exists(path), NotFound, path, ": no such file, although ", kIndexFile,
                 " lists it; incomplete download?", resume_hint(dir));
    auto file = SafetensorsFile::open(path);
    check_against_index(*file, shard, weight_map);
    checkpoint.add(std::move(file));
  }
  warn_of_stale_names(dir, weight_map, checkpoint);
  return checkpoint;
}

void Checkpoint::add(std::shared_ptr<SafetensorsFile> file) {
  for (const auto& entry : file->entries()) {
    const auto [other, added] = tensors_.emplace(entry.name, Place{file.get(), &entry});
    PRUNUS_CHECK(added, Corrupt, file->path(), ": tensor ", quote(entry.name),
                 " is also stored in ", other->second.file->path());
  }
  files_.push_back(std::move(file));
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, place] : tensors_) names.emplace_back(name);
  return names;
}

const Checkpoint::Place& Checkpoint::place(std::string_view name) const {
  const auto found = tensors_.find(name);
  PRUNUS_CHECK(found != tensors_.end(), NotFound, dir_, ": no tensor ", quote(name), " among the ",
               tensors_.size(), " of this model");
  return found->second;
}

const TensorEntry& Checkpoint::entry(std::string_view name) const { return *place(name).entry; }

at::Tensor Checkpoint::read(std::string_view name) const {
  const auto& [file, entry] = place(name);
  PRUNUS_CHECK(is_weight_dtype(entry->dtype), Unsupported, file->path(), ": tensor ", quote(name),
               " has dtype ", entry->dtype_name,
               ", expected F32, F16 or BF16; quantised models "
               "must be converted back first");
  return file->view(*entry);
}

at::Tensor Checkpoint::read_stored(std::string_view name) const {
  const auto& [file, entry] = place(name);
  return file->view(*entry);
}

void Checkpoint::prefetch(std::string_view name) const {
  const auto& [file, entry] = place(name);
  file->prefetch(*entry);
}

void Checkpoint::release(std::string_view name) const {
  const auto& [file, entry] = place(name);
  file->discard(*entry);
}

uint64_t Checkpoint::total_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, place] : tensors_) total += place.entry->bytes();
  return total;
}

std::vector<std::string> Checkpoint::files() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

}  // namespace prunus
