#include "prunus/adapter/peft_config.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/io/quote.h"
#include "prunus/model/config_fields.h"

namespace prunus {
namespace {

const Json* value_of(ConfigFields& fields, const char* key) {
  fields.ignore({key});
  return fields.has(key) ? &fields.json().at(key) : nullptr;
}

std::string shown(const Json& value) { return value.dump().substr(0, 80); }

// A name or a list of names; nothing where the field is absent, null or empty.
std::vector<std::string> names_of(ConfigFields& fields, const char* key) {
  const Json* value = value_of(fields, key);
  if (value == nullptr || value->empty()) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<std::string> names;
  for (const Json& item : list) {
    PRUNUS_CHECK(item.is_string(), Corrupt, fields.where(), ": '", key, "' is ", shown(*value),
                 ", expected names");
    if (item != "") names.push_back(item.get<std::string>());
  }
  return names;
}

void check_kind(ConfigFields& fields) {
  const std::string type = fields.text("peft_type", "");
  PRUNUS_CHECK(type == "LORA", Unsupported, fields.where(), ": 'peft_type' is ", quote(type),
               ", Prunus reads LORA only");
  const std::string task = fields.text("task_type", "CAUSAL_LM");
  PRUNUS_CHECK(task == "CAUSAL_LM", Unsupported, fields.where(), ": 'task_type' is ", quote(task),
               ", Prunus reads CAUSAL_LM only");
}

PeftConfig::Bias read_bias(ConfigFields& fields) {
  const std::string bias = fields.text("bias", "none");
  if (bias == "none") return PeftConfig::Bias::None;
  if (bias == "all") return PeftConfig::Bias::All;
  PRUNUS_CHECK(bias == "lora_only", Corrupt, fields.where(), ": 'bias' is ", quote(bias),
               ", expected none, all or lora_only");
  return PeftConfig::Bias::LoraOnly;
}

// Some initialisations also change the base's weights, so the factors do not fit the model as it
// is.
LoraOptions::Init read_init(ConfigFields& fields) {
  const Json* init = value_of(fields, "init_lora_weights");
  if (init == nullptr || init->is_boolean()) return LoraOptions::Init::Kaiming;
  const bool harmless = *init == "gaussian" || *init == "eva" || *init == "orthogonal";
  PRUNUS_CHECK(harmless, Unsupported, fields.where(), ": 'init_lora_weights' is ", shown(*init),
               ", which may change the base's weights; save the adapter converted to plain LoRA");
  return *init == "gaussian" ? LoraOptions::Init::Gaussian : LoraOptions::Init::Kaiming;
}

double read_dropout(ConfigFields& fields) {
  const Json* dropout = value_of(fields, "lora_dropout");
  if (dropout == nullptr) return 0;
  const double share = dropout->is_number() ? dropout->get<double>() : -1;
  PRUNUS_CHECK(share >= 0 && share < 1, Corrupt, fields.where(), ": 'lora_dropout' is ",
               shown(*dropout), ", expected a number in [0, 1)");
  return share;
}

// Variants that compute something else than W + s·B·A; off in every plain adapter.
void refuse_variants(ConfigFields& fields) {
  for (const char* key : {"layer_replication", "megatron_config", "trainable_token_indices",
                          "target_parameters", "alora_invocation_tokens", "use_qalora",
                          "use_bdlora", "arrow_config", "kasa_config", "monteclora_config"}) {
    const Json* value = value_of(fields, key);
    const bool off = value == nullptr || *value == false || value->empty() || *value == "";
    PRUNUS_CHECK(off, Unsupported, fields.where(), ": '", key,
                 "' = ", off ? std::string() : shown(*value),
                 ": another kind of adapter than LoRA or DoRA, which Prunus does not read");
  }
}

// Notes, and settings of training or of initialisations that are refused where they are in use.
void ignore_notes(ConfigFields& fields) {
  fields.ignore({"base_model_name_or_path", "revision", "inference_mode", "auto_mapping",
                 "peft_version", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
                 "megatron_core", "qalora_group_size", "runtime_config", "velora_config",
                 "ensure_weight_tying", "fan_in_fan_out"});
}

}  // namespace

bool PeftConfig::Modules::contain(const std::string& path) const {
  if (regex) return regex->matches_all(path);
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return ends_in(path, name); });
}

PeftConfig::Modules PeftConfig::read_modules(ConfigFields& fields, const char* key) {
  const Json* value = value_of(fields, key);
  Modules modules;
  if (value == nullptr || value->empty() || *value == "") return modules;
  if (value->is_string()) {
    modules.regex.emplace(value->get<std::string>(), c10::str(fields.where(), ": '", key, "'"));
    return modules;
  }
  PRUNUS_CHECK(value->is_array(), Corrupt, fields.where(), ": '", key, "' is ", value->type_name(),
               ", expected a list of module names or a regular expression");
  for (std::string& name : names_of(fields, key)) modules.names.insert(std::move(name));
  return modules;
}

void PeftConfig::read_targets(ConfigFields& fields) {
  const Json* value = value_of(fields, "target_modules");
  PRUNUS_CHECK(value != nullptr, Unsupported, fields.where(),
               ": 'target_modules' is missing or null, expected module names");
  std::string word = value->is_string() ? value->get<std::string>() : "";
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  all_linear_ = word == "all-linear";
  if (!all_linear_) targets_ = read_modules(fields, "target_modules");
  excluded_ = read_modules(fields, "exclude_modules");
}

void PeftConfig::read_layers(ConfigFields& fields) {
  const std::vector<std::string> patterns = names_of(fields, "layers_pattern");
  const Json* layers = value_of(fields, "layers_to_transform");
  if (layers == nullptr || (layers->is_array() && layers->empty())) return;
  PRUNUS_CHECK(!all_linear_ && !targets_.regex, Corrupt, fields.where(),
               ": 'layers_to_transform' = ", shown(*layers),
               " needs a list of names in 'target_modules'");
  const Json list = layers->is_array() ? *layers : Json::array({*layers});
  for (const Json& item : list) {
    PRUNUS_CHECK(item.is_number_integer(), Corrupt, fields.where(),
                 ": 'layers_to_transform' holds ", shown(item), ", expected layer numbers");
    layers_.insert(item.get<int64_t>());
  }
  const std::string where = c10::str(fields.where(), ": 'layers_pattern'");
  for (const std::string& pattern : patterns) {
    layer_patterns_.emplace_back("(?:^|.*?\\.)" + pattern + "\\.(?P<idx>\\d+)\\.", where);
  }
  if (patterns.empty()) layer_patterns_.emplace_back(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", where);
}

void PeftConfig::read_saved(ConfigFields& fields) {
  saved_ = names_of(fields, "modules_to_save");
  const std::string where = c10::str(fields.where(), ": 'modules_to_save'");
  for (const std::string& name : saved_) {
    saved_patterns_.emplace_back("(^|.*\\.)" + name + "($|\\..*)", where);
  }
}

std::vector<PeftConfig::Pattern> PeftConfig::read_pattern(ConfigFields& fields, const char* key,
                                                          bool integers) {
  std::vector<Pattern> patterns;
  auto entries = fields.object(key);
  if (!entries) return patterns;
  for (const auto& [name, value] : entries->json().items()) {
    const double number = integers ? static_cast<double>(entries->integer(name, 1, kMaxRank))
                                   : entries->positive(name);
    patterns.push_back(
        {text::PythonRegex("(.*\\.)?(" + name + ")$", c10::str(fields.where(), ": '", key, "'")),
         number});
  }
  return patterns;
}

PeftConfig PeftConfig::read(const std::string& path) {
  const Json json = read_json(path);
  PRUNUS_CHECK(json.is_object(), Corrupt, path, ": holds ", json.type_name(),
               ", expected an object");
  ConfigFields fields(json, path);
  check_kind(fields);
  PeftConfig config;
  config.where_ = path;
  config.options_.r = fields.integer("r", 1, kMaxRank, 8);
  config.options_.alpha = fields.positive("lora_alpha", 8);
  config.options_.rslora = fields.boolean("use_rslora", false);
  config.options_.dropout = read_dropout(fields);
  config.options_.init = read_init(fields);
  config.dora_ = fields.boolean("use_dora", false);
  config.lora_bias_ = fields.boolean("lora_bias", false);
  config.bias_ = read_bias(fields);
  config.read_targets(fields);
  config.read_layers(fields);
  config.read_saved(fields);
  config.ranks_ = read_pattern(fields, "rank_pattern", true);
  config.alphas_ = read_pattern(fields, "alpha_pattern", false);
  refuse_variants(fields);
  ignore_notes(fields);
  for (const std::string& key : fields.unknown()) {
    if (fields.json().at(key) != false) fields.refuse(key, "is not known here");  // switched off
  }
  return config;
}

bool PeftConfig::in_layers(const std::string& path) const {
  if (layers_.empty()) return true;
  for (const text::PythonRegex& pattern : layer_patterns_) {
    const auto digits = pattern.group(path, "idx");
    if (!digits) continue;
    int64_t layer = -1;
    std::from_chars(digits->data(), digits->data() + digits->size(), layer);
    return layers_.contains(layer);
  }
  return false;
}

bool PeftConfig::targets(const PeftModule& module) const {
  if (excluded_.contain(module.path)) return false;
  const bool saved =
      std::any_of(saved_patterns_.begin(), saved_patterns_.end(),
                  [&](const text::PythonRegex& one) { return one.matches_begin(module.path); });
  if (saved || module.kind == PeftModule::Kind::Vector) return false;
  if (all_linear_) {
    return module.kind == PeftModule::Kind::Matrix || module.kind == PeftModule::Kind::Expert;
  }
  // A module named in full is meant whatever layers_to_transform says.
  if (targets_.names.contains(module.path)) return true;
  return targets_.contain(module.path) && in_layers(module.path);
}

bool PeftConfig::saves(const std::string& path) const {
  return std::any_of(saved_.begin(), saved_.end(), [&](const std::string& name) {
    for (size_t dot = path.size(); dot != std::string::npos && dot > 0;
         dot = path.rfind('.', dot - 1)) {
      if (std::string_view(path).substr(0, dot).ends_with(name)) return true;
    }
    return false;
  });
}

double PeftConfig::look_up(const std::vector<Pattern>& patterns, const std::string& path,
                           double otherwise) {
  for (const Pattern& pattern : patterns) {
    if (pattern.regex.matches_begin(path)) return pattern.value;
  }
  return otherwise;
}

LoraOptions PeftConfig::options_of(const std::string& path) const {
  LoraOptions own = options_;
  own.r = static_cast<int64_t>(look_up(ranks_, path, static_cast<double>(own.r)));
  own.alpha = look_up(alphas_, path, own.alpha);
  return own;
}

}  // namespace prunus
