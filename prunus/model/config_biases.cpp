#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/layout.h"

namespace prunus {
namespace {

// A yes/no property and the biases that it turns on, those of projections that the family has.
struct BiasSwitch {
  Switch rule;
  std::set<Role> biases;
};

// The row of a projection that is not per expert, or null.
const TensorSpec* row_of(const Family& family, Role projection) {
  for (const TensorSpec& spec : family.tensors()) {
    if (spec.role == projection && spec.name.find("{e}") == std::string_view::npos) return &spec;
  }
  return nullptr;
}

std::vector<BiasSwitch> bias_switches(const Family& family) {
  std::vector<BiasSwitch> switches = {
      {family.qkv_bias, {Role::QBias, Role::KBias, Role::VBias}},
      {family.out_bias, {Role::OBias}},
      {family.mlp_bias, {Role::GateBias, Role::UpBias, Role::DownBias}},
  };
  for (BiasSwitch& one : switches) {
    std::erase_if(one.biases,
                  [&](Role bias) { return row_of(family, *projection_of(bias)) == nullptr; });
  }
  return switches;
}

bool any_of(const std::set<Role>& some, const std::set<Role>& biases) {
  return std::any_of(some.begin(), some.end(), [&](Role bias) { return biases.contains(bias); });
}

// Which keys are on where one of what they switch is.
std::set<std::string_view> keys_on(const Family& family, const std::set<Role>& biases) {
  std::set<std::string_view> keys;
  for (const BiasSwitch& one : bias_switches(family)) {
    if (!one.rule.key.empty() && any_of(one.biases, biases)) keys.insert(one.rule.key);
  }
  return keys;
}

// What a model of this family has where these keys are on.
std::set<Role> switched(const Family& family, const std::set<std::string_view>& keys) {
  std::set<Role> biases;
  for (const BiasSwitch& one : bias_switches(family)) {
    const bool on = one.rule.key.empty() ? one.rule.value : keys.contains(one.rule.key);
    if (on) biases.insert(one.biases.begin(), one.biases.end());
  }
  return biases;
}

// All parts of a fused tensor have a bias where one has.
std::set<Role> with_fused_parts(const Family& family, const std::set<Role>& biases) {
  std::set<Role> all = biases;
  for (const Role bias : biases) {
    const TensorSpec* row = row_of(family, *projection_of(bias));
    for (const TensorSpec& other : family.tensors()) {
      if (row != nullptr && other.name == row->name) all.insert(*bias_of(other.role));
    }
  }
  return all;
}

std::set<Role> listed(const ConfigFields& fields, const Family& family) {
  const Json& list = fields.json().at(kBiasesKey);
  PRUNUS_CHECK(list.is_array(), Corrupt, fields.where(), ": ", kBiasesKey, " is ", list.dump(),
               ", expected a list of projections");
  std::map<std::string, Role> known;
  std::string names;
  for (const BiasSwitch& one : bias_switches(family)) {
    for (const Role bias : one.biases) {
      const std::string name = role_name(*projection_of(bias));
      known[name] = bias;
      names += (names.empty() ? "" : ", ") + name;
    }
  }
  std::set<Role> biases;
  for (const Json& one : list) {
    const auto found = one.is_string() ? known.find(one.get<std::string>()) : known.end();
    PRUNUS_CHECK(found != known.end(), Corrupt, fields.where(), ": ", kBiasesKey, " holds ",
                 one.dump(), "; the projections of this family are ", names);
    biases.insert(found->second);
  }
  return biases;
}

}  // namespace

std::set<Role> read_biases(ConfigFields& fields, const Family& family) {
  std::set<std::string_view> keys;
  for (const BiasSwitch& one : bias_switches(family)) {
    if (!one.rule.key.empty() && switch_of(fields, one.rule)) keys.insert(one.rule.key);
  }
  fields.ignore({kBiasesKey});
  if (!fields.has(kBiasesKey)) return switched(family, keys);
  PRUNUS_CHECK(fields.text("model_type", "").starts_with(kOwnTypePrefix), Corrupt, fields.where(),
               ": ", kBiasesKey, " needs a model_type that begins with ", kOwnTypePrefix,
               ", so that no other loader passes it over");
  return listed(fields, family);
}

std::string biases_beyond_switches(const ModelConfig& config) {
  const Family& family = *config.family;
  const std::set<Role> said = switched(family, keys_on(family, config.biases));
  if (said == config.biases) return {};
  const bool more =
      std::includes(config.biases.begin(), config.biases.end(), said.begin(), said.end());
  std::string names;
  for (const Role bias : config.biases) {
    if (more && said.contains(bias)) continue;
    names += (names.empty() ? "" : ", ") + role_name(*projection_of(bias));
  }
  return names.empty() ? "no projection" : names;
}

std::set<Role> with_added_biases(const ModelConfig& config, const std::set<Role>& added) {
  const Family& family = *config.family;
  std::set<Role> wanted = config.biases;
  wanted.insert(added.begin(), added.end());
  const std::set<Role> said = switched(family, keys_on(family, wanted));
  const bool all = std::includes(said.begin(), said.end(), wanted.begin(), wanted.end());
  return all ? said : with_fused_parts(family, wanted);
}

void write_biases(Json& json, const ModelConfig& config) {
  const Family& family = *config.family;
  const std::set<std::string_view> keys = keys_on(family, config.biases);
  if (switched(family, keys) != config.biases) {
    Json names = Json::array();
    for (const Role bias : config.biases) names.push_back(role_name(*projection_of(bias)));
    json[kBiasesKey] = names;
    return;
  }
  for (const BiasSwitch& one : bias_switches(family)) {
    const std::string key(one.rule.key);
    if (key.empty() || one.biases.empty()) continue;
    const bool said = json.contains(key) && !json[key].is_null();
    const bool before = said ? json[key] == true : one.rule.value;
    if (before != keys.contains(key)) json[key] = keys.contains(key);
  }
}

}  // namespace prunus
