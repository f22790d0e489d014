#include "prunus/job/run_record.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/memory.h"
#include "prunus/base/run_schema.h"
#include "prunus/io/checkpoint.h"
#include "prunus/io/model_place.h"
#include "prunus/model/cost.h"
#include "prunus/model/matmul.h"
#include "prunus/model/model_files.h"

namespace prunus {

using namespace run_key;

namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

RunRecord::RunRecord(const std::string& command, Json options) : json_(std::make_unique<Json>()) {
  *json_ = {{kFormat, kRunFormat},          {kVersion, kRunVersion},
            {kPrunus, PRUNUS_VERSION},      {kCommand, command},
            {kOptions, std::move(options)}, {kThreads, at::get_num_threads()},
            {kStages, Json::array()}};
}

RunRecord::~RunRecord() = default;

RunRecord::StageClock::StageClock(RunRecord& record, std::string name)
    : record_(record), name_(std::move(name)), start_s_(now_s()) {}

RunRecord::StageClock::~StageClock() {
  (*record_.json_)[kStages].push_back(
      {{kName, name_}, {kSeconds, now_s() - start_s_}, {kPeakMemoryBytes, peak_memory_bytes()}});
}

void RunRecord::set(const std::string& key, Json value) { (*json_)[key] = std::move(value); }

void RunRecord::set_places(std::initializer_list<std::pair<const char*, std::string>> paths) {
  Json places = Json::object();
  for (const auto& [option, path] : paths) {
    if (path.empty()) continue;
    std::error_code ignored;
    const ModelPlace place = place_of(path);
    Json& json = places[option];
    json["path"] = std::filesystem::absolute(path, ignored).lexically_normal().string();
    if (place.commit.empty()) continue;
    json["hub_name"] = place.hub_name;
    json["commit"] = place.commit;
  }
  set(kPlaces, std::move(places));
}

Json RunRecord::json() const {
  Json copy = *json_;
  copy[kMatmul] = name_of_matmul(chosen_matmul());
  copy[kHalfProducts] = name_of_half_products();
  copy[kPeakMemoryBytes] = peak_memory_bytes();
  return copy;
}

void RunRecord::write(const std::string& dir) {
  std::vector<std::string> files = {"run.json"};
  for (const auto& item : std::filesystem::recursive_directory_iterator(dir)) {
    if (!item.is_directory()) files.push_back(item.path().lexically_relative(dir).string());
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  set(kFiles, files);
  write_file(dir + "/run.json", json().dump(2) + "\n");
}

Json describe_model(const Model& model) {
  std::vector<int64_t> heads;
  std::vector<int64_t> kv_heads;
  std::vector<int64_t> widths;
  for (const LayerShape& layer : model.config().layers) {
    heads.push_back(layer.num_attention_heads);
    kv_heads.push_back(layer.num_key_value_heads);
    widths.push_back(layer.intermediate_size);
  }
  return {{kParameters, model.parameters()},
          {kBytes, model.bytes()},
          {kMacs, count_macs(model.config(), 64).total()},
          {kMacsLlmPruner, llm_pruner_macs(model.config(), 64)},
          {"hidden_size", model.config().hidden_size},
          {"num_hidden_layers", model.layer_count()},
          {"head_dim", model.config().head_dim},
          {"num_attention_heads", heads},
          {"num_key_value_heads", kv_heads},
          {"intermediate_size", widths}};
}

Json hash_model_files(const std::string& dir) {
  Json files = Json::array();
  for (const std::string& path : model_files(dir)) {
    files.push_back({{kFile, std::filesystem::path(path).filename().string()},
                     {kBytes, std::filesystem::file_size(path)},
                     {kSha256, sha256_file(path)}});
  }
  return files;
}

}  // namespace prunus
