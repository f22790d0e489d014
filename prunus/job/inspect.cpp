#include "prunus/job/inspect.h"

#include <cmath>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/run_schema.h"
#include "prunus/graph/groups.h"
#include "prunus/io/model_place.h"
#include "prunus/job/run_record.h"
#include "prunus/model/cost.h"

namespace prunus {
namespace {

using namespace run_key;

constexpr int64_t kMacsTokens = 64;  // as LLM-Pruner's tables
constexpr int64_t kKvTokens[] = {1000, 16000, 128000};
constexpr int64_t kLoraRank = 16;

/// Rows of the table of parameters; a bias counts with its matrix.
struct Part {
  const char* name;
  std::vector<Role> roles;
};

const std::vector<Part>& parts() {
  static const std::vector<Part> list = {
      {"embedding", {Role::EmbedTokens}},
      {"attention q", {Role::QProj, Role::QBias}},
      {"attention k", {Role::KProj, Role::KBias}},
      {"attention v", {Role::VProj, Role::VBias}},
      {"attention o", {Role::OProj, Role::OBias}},
      {"FFN gate", {Role::GateProj, Role::GateBias}},
      {"FFN up", {Role::UpProj, Role::UpBias}},
      {"FFN down", {Role::DownProj, Role::DownBias}},
      {"experts' router", {Role::Router, Role::SharedRouter}},
      {"shared expert", {Role::SharedGateProj, Role::SharedUpProj, Role::SharedDownProj}},
      {"positions", {Role::EmbedPositions}},
      {"norms",
       {Role::AttnNorm, Role::QNorm, Role::KNorm, Role::MlpNorm, Role::FinalNorm,
        Role::AttnNormBias, Role::MlpNormBias, Role::FinalNormBias, Role::EmbedNorm,
        Role::EmbedNormBias, Role::PostAttnNorm, Role::PostMlpNorm}},
      {"head", {Role::LmHead}},
  };
  return list;
}

/// Parameters and bytes of some tensors.
struct Size {
  int64_t parameters = 0;
  int64_t bytes = 0;
  void add(const TensorInfo& tensor, at::ScalarType dtype) {
    const int64_t count = c10::multiply_integers(tensor.shape);
    parameters += count;
    bytes += count * static_cast<int64_t>(c10::elementSize(dtype));
  }
};

/// Sizes by role and by layer, the first for what is outside the layers.
struct Sizes {
  std::array<Size, kRoleCount> roles;
  std::vector<Size> layers;
  Size total;
};

Sizes measure(const Model& model) {
  Sizes sizes;
  sizes.layers.resize(static_cast<size_t>(model.layer_count()) + 1);
  for (const TensorInfo& tensor : model.tensors()) {
    const at::ScalarType dtype = model.source().dtype(tensor);
    sizes.roles[static_cast<size_t>(tensor.spec->role)].add(tensor, dtype);
    sizes.layers[static_cast<size_t>(tensor.layer + 1)].add(tensor, dtype);
    sizes.total.add(tensor, dtype);
  }
  return sizes;
}

double ratio(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

int64_t whole(double value) { return static_cast<int64_t>(std::ceil(value)); }

Json parts_json(const Sizes& sizes) {
  Json list = Json::array();
  for (const Part& part : parts()) {
    Size sum;
    for (const Role role : part.roles) {
      sum.parameters += sizes.roles[static_cast<size_t>(role)].parameters;
      sum.bytes += sizes.roles[static_cast<size_t>(role)].bytes;
    }
    list.push_back({{"part", part.name},
                    {"parameters", sum.parameters},
                    {"share", ratio(sum.parameters, sizes.total.parameters)},
                    {"bytes", sum.bytes}});
  }
  return list;
}

Json layers_json(const ModelConfig& config, const Sizes& sizes) {
  Json list = Json::array();
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const LayerShape& layer = config.layers[i];
    list.push_back({{"layer", i},
                    {"num_attention_heads", layer.num_attention_heads},
                    {"num_key_value_heads", layer.num_key_value_heads},
                    {"intermediate_size", layer.intermediate_size},
                    {"sliding_window", layer.sliding_window ? Json(*layer.sliding_window) : Json()},
                    {"parameters", sizes.layers[i + 1].parameters},
                    {"bytes", sizes.layers[i + 1].bytes}});
  }
  return list;
}

Json groups_json(const Model& model, const Sizes& sizes) {
  Json list = Json::array();
  for (const GroupSet& set : find_groups(model)) {
    const int64_t unit = set.parameters_per_unit();
    list.push_back({{"name", set.name()},
                    {"axis", axis_name(set.label)},
                    {"layer", set.layer < 0 ? Json() : Json(set.layer)},
                    {"units", set.units},
                    {"parameters_per_unit", unit},
                    {"bytes_per_unit", set.bytes_per_unit(model.source())},
                    {"parameters", unit * set.units},
                    {"share", ratio(unit * set.units, sizes.total.parameters)}});
  }
  return list;
}

Json macs_json(const ModelConfig& config) {
  const Macs macs = count_macs(config, kMacsTokens);
  return {{"tokens", kMacsTokens},
          {"exact",
           {{"total", whole(macs.total())},
            {"projections", whole(macs.projections)},
            {"attention", whole(macs.attention)},
            {"ffn", whole(macs.ffn)},
            {"head", whole(macs.head)}}},
          {"llm_pruner", whole(llm_pruner_macs(config, kMacsTokens))}};
}

Json memory_json(const ModelConfig& config) {
  Json weights = Json::array();
  for (const auto& [format, bits] : {std::pair{"FP16", 16}, {"FP8", 8}, {"INT4", 4}}) {
    weights.push_back(
        {{"format", format}, {"bits", bits}, {"bytes", whole(weight_bytes(config, bits))}});
  }
  Json cache = Json::array();
  for (const int64_t tokens : kKvTokens) {
    cache.push_back({{"tokens", tokens},
                     {"fp16_bytes", whole(kv_cache_bytes(config, tokens, 16))},
                     {"fp8_bytes", whole(kv_cache_bytes(config, tokens, 8))}});
  }
  const FineTuningBytes tuning = fine_tuning_bytes(config, kLoraRank);
  return {{"weights", weights},
          {"kv_cache", cache},
          {"fine_tuning",
           {{"lora_rank", kLoraRank},
            {"lora_parameters", lora_parameters(config, kLoraRank)},
            {"full_bf16_bytes", whole(tuning.full_bf16)},
            {"full_mixed_bytes", whole(tuning.full_mixed)},
            {"lora_bytes", whole(tuning.lora)},
            {"qlora_bytes", whole(tuning.qlora)}}}};
}

}  // namespace

Json inspect(const InspectedModel& inspected) {
  const Model& model = inspected.model;
  const ModelConfig& config = model.config();
  count_parameters(config);  // refuses sizes that would overflow the sums below
  const Sizes sizes = measure(model);
  return {{kModel, inspected.path},
          {"family", config.family->model_type},
          {"architecture", config.family->architecture},
          {"dtype", inspected.dtype},
          {"dtype_source", inspected.dtype_source},
          {kParameters, sizes.total.parameters},
          {kBytes, sizes.total.bytes},
          {"config",
           {{"num_hidden_layers", config.layers.size()},
            {"hidden_size", config.hidden_size},
            {"head_dim", config.head_dim},
            {"vocab_size", config.vocab_size},
            {"max_position_embeddings", config.max_position_embeddings},
            {"tie_word_embeddings", config.tie_word_embeddings}}},
          {"parts", parts_json(sizes)},
          {"layers", layers_json(config, sizes)},
          {"groups", groups_json(model, sizes)},
          {"macs", macs_json(config)},
          {"memory", memory_json(config)}};
}

Json run_inspect(const std::string& asked) {
  RunRecord record("inspect", {{kModel, asked}});
  const std::string path = locate_model(asked).path;
  record.set_places({{"model", path}});
  const InspectedModel inspected = record.stage("open", [&] { return open_for_inspection(path); });
  const Json report = record.stage("inspect", [&] { return inspect(inspected); });
  for (const auto& [key, value] : report.items()) record.set(key, value);
  return record.json();
}

}  // namespace prunus
