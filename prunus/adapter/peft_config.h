#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "prunus/adapter/lora.h"
#include "prunus/adapter/peft_modules.h"
#include "prunus/text/python_regex.h"

namespace prunus {

/// What adapter_config.json says, matched as PEFT matches it.
/// Source: huggingface/peft 0.21, tuners/lora/config.py, tuners/tuners_utils.py
/// (check_target_module_exists), utils/other.py (get_pattern_key, _set_trainable).
class PeftConfig {
 public:
  enum class Bias { None, All, LoraOnly };

  /// Throws NotFound; Corrupt: broken JSON, a field of the wrong type or out of range; Unsupported
  /// naming the field that changes the mathematics in a way that is not known here.
  static PeftConfig read(const std::string& path);

  const LoraOptions& options() const { return options_; }
  bool dora() const { return dora_; }
  bool lora_bias() const { return lora_bias_; }
  Bias bias() const { return bias_; }
  const std::string& where() const { return where_; }

  /// Whether target_modules, exclude_modules, layers_to_transform and modules_to_save leave an
  /// adapter for this module.
  bool targets(const PeftModule& module) const;
  /// Whether a name in modules_to_save covers the module of this path, or one that holds it.
  bool saves(const std::string& path) const;
  /// options() with the rank and alpha of this module.
  LoraOptions options_of(const std::string& path) const;

 private:
  // A list of names, or one regular expression for whole paths.
  struct Modules {
    std::set<std::string> names;
    std::optional<text::PythonRegex> regex;
    bool contain(const std::string& path) const;
  };
  struct Pattern {
    text::PythonRegex regex;
    double value;
  };

  PeftConfig() = default;
  static Modules read_modules(class ConfigFields& fields, const char* key);
  static std::vector<Pattern> read_pattern(ConfigFields& fields, const char* key, bool integers);
  void read_targets(ConfigFields& fields);
  void read_layers(ConfigFields& fields);
  void read_saved(ConfigFields& fields);
  bool in_layers(const std::string& path) const;
  static double look_up(const std::vector<Pattern>& patterns, const std::string& path,
                        double otherwise);

  std::string where_;
  LoraOptions options_;
  bool dora_ = false;
  bool lora_bias_ = false;
  Bias bias_ = Bias::None;
  bool all_linear_ = false;
  Modules targets_;
  Modules excluded_;
  std::set<int64_t> layers_;  // empty: all
  std::vector<text::PythonRegex> layer_patterns_;
  std::vector<std::string> saved_;
  std::vector<text::PythonRegex> saved_patterns_;
  std::vector<Pattern> ranks_;  // in the file's order: the first wins
  std::vector<Pattern> alphas_;
};

}  // namespace prunus
