#include "prunus/recover/peft.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/io/checkpoint_writer.h"
#include "prunus/io/quote.h"
#include "prunus/io/safetensors.h"
#include "prunus/io/safetensors_dtype.h"
#include "prunus/model/config_fields.h"

namespace prunus {
namespace {

constexpr int64_t kMaxRank = int64_t{1} << 16;
constexpr const char* kWrongModel =
    "; is it the adapter of another model? One of the dense model does not fit its pruned one";

std::string config_path(const std::string& dir) { return dir + "/adapter_config.json"; }
std::string weights_path(const std::string& dir) { return dir + "/adapter_model.safetensors"; }

const std::vector<Role>& projections() {
  static const std::vector<Role> roles = LoraOptions{}.targets;
  return roles;
}

// "model.layers.0.self_attn.q_proj"
std::string module_path(const TensorInfo& weight) {
  return weight.name.substr(0, weight.name.rfind('.'));
}

// PEFT's rule for target_modules, and for the patterns where they are plain names: the whole path
// or its last parts.
bool ends_in(std::string_view module, std::string_view key) {
  if (!module.ends_with(key)) return false;
  return module.size() == key.size() || module[module.size() - key.size() - 1] == '.';
}

using Pattern = std::vector<std::pair<std::string, double>>;  // in the file's order: the first wins

struct PeftConfig {
  LoraOptions options;
  std::optional<std::vector<std::string>> modules;  // nothing: all seven projections
  std::set<int64_t> layers;                         // empty: all
  Pattern ranks;
  Pattern alphas;
};

const Json* value_of(ConfigFields& fields, const char* key) {
  fields.ignore({key});
  return fields.has(key) ? &fields.json().at(key) : nullptr;
}

void check_kind(ConfigFields& fields) {
  const std::string type = fields.text("peft_type", "");
  PRUNUS_CHECK(type == "LORA", Unsupported, fields.where(), ": 'peft_type' is ", quote(type),
               ", Prunus reads LORA only");
  const std::string task = fields.text("task_type", "CAUSAL_LM");
  PRUNUS_CHECK(task == "CAUSAL_LM", Unsupported, fields.where(), ": 'task_type' is ", quote(task),
               ", Prunus reads CAUSAL_LM only");
  const std::string bias = fields.text("bias", "none");
  PRUNUS_CHECK(bias == "none", Unsupported, fields.where(), ": 'bias' is ", quote(bias),
               ", Prunus has no adapters with trained biases: only \"none\"");
}

// Some initialisations also change the base's weights, so the factors do not fit the model as it
// is.
LoraOptions::Init read_init(ConfigFields& fields) {
  const Json* init = value_of(fields, "init_lora_weights");
  if (init == nullptr || init->is_boolean()) return LoraOptions::Init::Kaiming;
  const bool harmless = *init == "gaussian" || *init == "eva" || *init == "orthogonal";
  PRUNUS_CHECK(harmless, Unsupported, fields.where(), ": 'init_lora_weights' is ",
               init->dump().substr(0, 80),
               ", which may change the base's weights; save the adapter converted to plain LoRA");
  return *init == "gaussian" ? LoraOptions::Init::Gaussian : LoraOptions::Init::Kaiming;
}

double read_dropout(ConfigFields& fields) {
  const Json* dropout = value_of(fields, "lora_dropout");
  if (dropout == nullptr) return 0;
  const double share = dropout->is_number() ? dropout->get<double>() : -1;
  PRUNUS_CHECK(share >= 0 && share < 1, Corrupt, fields.where(), ": 'lora_dropout' is ",
               dropout->dump().substr(0, 80), ", expected a number in [0, 1)");
  return share;
}

std::optional<std::vector<std::string>> read_modules(ConfigFields& fields) {
  const Json* modules = value_of(fields, "target_modules");
  PRUNUS_CHECK(modules != nullptr, Unsupported, fields.where(),
               ": 'target_modules' is missing or null, expected a list of module names");
  if (modules->is_string()) {
    PRUNUS_CHECK(*modules == "all-linear", Unsupported, fields.where(),
                 ": 'target_modules' = ", quote(modules->get<std::string>()),
                 " is a regular expression, which Prunus does not read; list the module names");
    return std::nullopt;
  }
  PRUNUS_CHECK(modules->is_array(), Corrupt, fields.where(), ": 'target_modules' is ",
               modules->type_name(), ", expected a list of module names");
  return fields.texts("target_modules", modules->size());
}

std::set<int64_t> read_layers(ConfigFields& fields) {
  const Json* layers = value_of(fields, "layers_to_transform");
  const Json* pattern = value_of(fields, "layers_pattern");
  if (layers == nullptr || (layers->is_array() && layers->empty())) return {};
  const bool usual = pattern == nullptr || pattern->empty() || *pattern == "" ||
                     *pattern == "layers" || *pattern == Json::array({"layers"});
  PRUNUS_CHECK(usual, Unsupported, fields.where(),
               ": 'layers_pattern' = ", pattern->dump().substr(0, 80),
               ", the layers of these models are called \"layers\"");
  const Json list = layers->is_array() ? *layers : Json::array({*layers});
  std::set<int64_t> numbers;
  for (const Json& item : list) {
    PRUNUS_CHECK(item.is_number_integer(), Corrupt, fields.where(),
                 ": 'layers_to_transform' holds ", item.dump().substr(0, 80),
                 ", expected layer numbers");
    numbers.insert(item.get<int64_t>());
  }
  return numbers;
}

// The keys are regular expressions to PEFT; those it writes itself are plain names, whose dots only
// match dots in the names of these models. A leading ^ makes the name a whole one.
bool is_plain(std::string_view key) {
  if (key.starts_with('^')) key.remove_prefix(1);
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.';
  });
}

Pattern read_pattern(ConfigFields& fields, const char* name, bool integers) {
  Pattern pattern;
  auto entries = fields.object(name);
  if (!entries) return pattern;
  for (const auto& [key, value] : entries->json().items()) {
    PRUNUS_CHECK(is_plain(key), Unsupported, fields.where(), ": '", name, "' has the key ",
                 quote(key), ", a regular expression, which Prunus does not read");
    const double number =
        integers ? static_cast<double>(entries->integer(key, 1, kMaxRank)) : entries->positive(key);
    pattern.emplace_back(key, number);
  }
  return pattern;
}

double look_up(const Pattern& pattern, std::string_view module, double otherwise) {
  for (const auto& [key, value] : pattern) {
    if (key.starts_with('^') ? module == key.substr(1) : ends_in(module, key)) return value;
  }
  return otherwise;
}

PeftConfig read_config(const std::string& path) {
  const Json json = read_json(path);
  ConfigFields fields(json, path);
  check_kind(fields);
  PeftConfig config;
  config.options.r = fields.integer("r", 1, kMaxRank, 8);
  config.options.alpha = fields.positive("lora_alpha", 8);
  config.options.rslora = fields.boolean("use_rslora", false);
  config.options.dropout = read_dropout(fields);
  config.options.init = read_init(fields);
  config.modules = read_modules(fields);
  config.layers = read_layers(fields);
  config.ranks = read_pattern(fields, "rank_pattern", true);
  config.alphas = read_pattern(fields, "alpha_pattern", false);
  // Notes, and settings of initialisations or switches that are refused where they are in use.
  fields.ignore({"base_model_name_or_path", "revision", "inference_mode", "auto_mapping",
                 "peft_version", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
                 "megatron_core", "qalora_group_size", "runtime_config"});
  fields.refuse_unknown();
  return config;
}

bool targets(const PeftConfig& config, const std::string& module, int64_t layer) {
  const bool in_layers = config.layers.empty() || config.layers.contains(layer);
  if (!config.modules) return in_layers;
  const auto& names = *config.modules;
  // A module named in full is meant whatever layers_to_transform says.
  if (std::find(names.begin(), names.end(), module) != names.end()) return true;
  return in_layers && std::any_of(names.begin(), names.end(),
                                  [&](const std::string& name) { return ends_in(module, name); });
}

std::shared_ptr<SafetensorsFile> open_weights(const std::string& dir) {
  const std::string path = weights_path(dir);
  const bool pickle =
      !std::filesystem::exists(path) && std::filesystem::exists(dir + "/adapter_model.bin");
  PRUNUS_CHECK(!pickle, NotFound, path,
               ": no such file. adapter_model.bin is a pickle, which can run code when read, so "
               "Prunus does not read it: save the adapter as safetensors");
  return SafetensorsFile::open(path);
}

at::Tensor read_factor(const SafetensorsFile& file, const std::string& name,
                       at::IntArrayRef shape) {
  const TensorEntry* entry = file.find(name);
  PRUNUS_CHECK(entry != nullptr, Corrupt, file.path(), ": tensor ", quote(name),
               " is missing, although adapter_config.json calls for it", kWrongModel);
  PRUNUS_CHECK(entry->shape == shape, Corrupt, file.path(), ": tensor ", quote(name), " is ",
               at::IntArrayRef(entry->shape), ", expected ", shape, kWrongModel);
  PRUNUS_CHECK(is_weight_dtype(entry->dtype), Unsupported, file.path(), ": tensor ", quote(name),
               " has dtype ", entry->dtype_name, ", expected F32, F16 or BF16");
  // A copy in any case: training writes into it.
  const at::Tensor factor = file.view(*entry).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  check_finite(factor, c10::str(file.path(), ": tensor ", quote(name)));
  return factor;
}

LoraPair read_pair(const SafetensorsFile& file, const PeftConfig& config,
                   const TensorInfo& weight) {
  const std::string module = module_path(weight);
  LoraOptions own = config.options;
  own.r = static_cast<int64_t>(look_up(config.ranks, module, static_cast<double>(own.r)));
  own.alpha = look_up(config.alphas, module, own.alpha);
  return {read_factor(file, lora_tensor_name(weight, 'A'), {own.r, weight.shape[1]}),
          read_factor(file, lora_tensor_name(weight, 'B'), {weight.shape[0], own.r}), own.scale()};
}

bool names_projection(std::string_view tensor) {
  return std::any_of(projections().begin(), projections().end(), [&](Role role) {
    const std::string module = c10::str(".", lora_target_name(role));
    return tensor.ends_with(module + ".lora_A.weight") ||
           tensor.ends_with(module + ".lora_B.weight");
  });
}

// Every tensor of the file is in the adapter.
void refuse_others(const SafetensorsFile& file, const LoraAdapter& adapter, const Model& model) {
  std::set<std::string> used;
  for (const auto& [place, pair] : adapter.pairs) {
    const TensorInfo& weight = model.tensor(place.second, place.first);
    used.insert({lora_tensor_name(weight, 'A'), lora_tensor_name(weight, 'B')});
  }
  for (const TensorEntry& entry : file.entries()) {
    if (used.contains(entry.name)) continue;
    PRUNUS_CHECK(
        !names_projection(entry.name), Corrupt, file.path(), ": tensor ", quote(entry.name),
        " belongs to no weight of the model that adapter_config.json calls for", kWrongModel);
    PRUNUS_FAIL(Unsupported, file.path(), ": tensor ", quote(entry.name),
                ": Prunus has LoRA factors on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj "
                "and down_proj only");
  }
}

bool pairs_on_all_layers(const LoraAdapter& adapter, const std::set<Role>& roles,
                         const Model& model) {
  return adapter.pairs.size() == roles.size() * static_cast<size_t>(model.layer_count());
}

// Names where every layer has them, as people write them; else each module in full.
Json modules_of(const LoraAdapter& adapter, const Model& model) {
  std::set<Role> roles;
  for (const auto& [place, pair] : adapter.pairs) roles.insert(place.second);
  Json modules = Json::array();
  if (pairs_on_all_layers(adapter, roles, model)) {
    for (const Role role : roles) modules.push_back(lora_target_name(role));
    return modules;
  }
  for (const auto& [place, pair] : adapter.pairs) {
    modules.push_back(module_path(model.tensor(place.second, place.first)));
  }
  return modules;
}

// PEFT declares lora_alpha an integer: written as one where it is one.
Json number_of(double value) {
  const double whole = std::round(value);
  if (std::abs(value - whole) > 1e-9 * std::abs(value) || std::abs(whole) > 1e15) return value;
  return static_cast<int64_t>(whole);
}

struct Patterns {
  Json ranks = Json::object();
  Json alphas = Json::object();
};

// What differs from the adapter's own r and alpha.
Patterns patterns_of(const LoraAdapter& adapter, const Model& model) {
  Patterns patterns;
  for (const auto& [place, pair] : adapter.pairs) {
    const std::string module = module_path(model.tensor(place.second, place.first));
    LoraOptions own = adapter.options;
    own.r = pair.a.size(0);
    if (own.r != adapter.options.r) patterns.ranks[module] = own.r;
    if (own.scale() == pair.scale) continue;
    own.alpha = 1;
    patterns.alphas[module] = number_of(pair.scale / own.scale());
  }
  return patterns;
}

Json config_of(const LoraAdapter& adapter, const Model& model, const std::string& base_model) {
  const LoraOptions& options = adapter.options;
  const bool gaussian = options.init == LoraOptions::Init::Gaussian;
  Patterns patterns = patterns_of(adapter, model);
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base_model},
          {"revision", nullptr},
          {"inference_mode", true},
          {"r", options.r},
          {"lora_alpha", number_of(options.alpha)},
          {"lora_dropout", options.dropout},
          {"use_rslora", options.rslora},
          {"use_dora", false},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_lora_weights", gaussian ? Json("gaussian") : Json(true)},
          {"target_modules", modules_of(adapter, model)},
          {"modules_to_save", nullptr},
          {"layers_to_transform", nullptr},
          {"layers_pattern", nullptr},
          {"rank_pattern", std::move(patterns.ranks)},
          {"alpha_pattern", std::move(patterns.alphas)}};
}

}  // namespace

void write_peft(const LoraAdapter& adapter, const Model& model, const std::string& base_model,
                const std::string& dir) {
  std::map<std::string, at::Tensor> factors;
  std::vector<TensorPlan> plan;
  for (const auto& [place, pair] : adapter.pairs) {
    const TensorInfo& weight = model.tensor(place.second, place.first);
    for (const char part : {'A', 'B'}) {
      const std::string name = lora_tensor_name(weight, part);
      factors[name] = part == 'A' ? pair.a : pair.b;
      plan.push_back({name, at::kFloat, factors[name].sizes().vec()});
    }
  }
  CheckpointWriter writer(dir, std::move(plan), std::numeric_limits<uint64_t>::max(),
                          "adapter_model");
  for (const TensorPlan& next : writer.order()) {
    writer.write(next.name, factors.at(next.name).detach().to(at::kCPU).contiguous());
  }
  writer.finish();
  write_file(config_path(dir), config_of(adapter, model, base_model).dump(2) + "\n");
}

LoraAdapter read_peft(const std::string& dir, const Model& model) {
  const PeftConfig config = read_config(config_path(dir));
  const auto file = open_weights(dir);
  LoraAdapter adapter{config.options, {}};
  adapter.options.targets.clear();
  for (const Role role : projections()) {
    bool used = false;
    for (int layer = 0; layer < model.layer_count(); ++layer) {
      const TensorInfo& weight = model.tensor(role, layer);
      if (!targets(config, module_path(weight), layer)) continue;
      adapter.pairs.emplace(std::pair(layer, role), read_pair(*file, config, weight));
      used = true;
    }
    if (used) adapter.options.targets.push_back(role);
  }
  refuse_others(*file, adapter, model);
  PRUNUS_CHECK(!adapter.pairs.empty(), Corrupt, config_path(dir),
               ": 'target_modules' names no projection of the model", kWrongModel);
  return adapter;
}

}  // namespace prunus
