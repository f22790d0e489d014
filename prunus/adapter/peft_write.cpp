#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/adapter/peft.h"
#include "prunus/adapter/peft_modules.h"
#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/io/checkpoint_writer.h"
#include "prunus/model/layout.h"

namespace prunus {
namespace {

// What one module of the file gets.
struct Factors {
  at::Tensor a;  // [r, in]
  at::Tensor b;  // [out, r], rows as in the file
  double scale = 1;
};

using Written = std::map<std::string, Factors>;  // by the module's path

// Parts that differ in scale carry the quotient in B, since a module has one.
Factors factors_of(const PeftModule& module, const std::map<const TensorInfo*, LoraPair>& pairs) {
  const double scale = pairs.begin()->second.scale;
  if (module.parts.size() == 1) {
    const LoraPair& pair = pairs.begin()->second;
    return {pair.a, pair.b, scale};
  }
  int64_t rank = 0;
  for (const auto& [part, pair] : pairs) rank += pair.a.size(0);
  std::vector<at::Tensor> a;
  std::vector<at::Tensor> b;
  int64_t begin = 0;
  for (const TensorInfo* part : module.parts) {
    b.push_back(at::zeros({part->shape[0], rank}));
    const auto found = pairs.find(part);
    if (found == pairs.end()) continue;
    const LoraPair& pair = found->second;
    a.push_back(pair.a);
    at::Tensor block = b.back().narrow(1, begin, pair.a.size(0));
    block.copy_(pair.scale == scale ? pair.b : pair.b * (pair.scale / scale));
    begin += pair.a.size(0);
  }
  return {at::cat(a), joined_rows(b, module.parts[0]->stored.groups), scale};
}

Written factors_of(const LoraAdapter& adapter, const std::vector<PeftModule>& modules) {
  const at::NoGradGuard no_grad;
  Written written;
  for (const PeftModule& module : modules) {
    std::map<const TensorInfo*, LoraPair> pairs;
    for (const TensorInfo* part : module.parts) {
      if (part->spec->rank != 2) continue;
      const auto found = adapter.pairs.find({part->layer, part->spec->role});
      if (found == adapter.pairs.end()) continue;
      const LoraPair& pair = found->second;
      pairs[part] = {pair.a.detach().cpu(), pair.b.detach().cpu(), pair.scale, {}};
    }
    PRUNUS_CHECK(pairs.empty() || module.kind == PeftModule::Kind::Matrix, Unsupported,
                 "an adapter on '", module.path, "' cannot be written: only those on projections");
    if (!pairs.empty()) written[module.path] = factors_of(module, pairs);
  }
  return written;
}

// PEFT declares lora_alpha an integer: written as one where it is one.
Json number_of(double value) {
  const double whole = std::round(value);
  if (std::abs(value - whole) > 1e-9 * std::abs(value) || std::abs(whole) > 1e15) return value;
  return static_cast<int64_t>(whole);
}

// The alpha that gives a module of this rank its scale.
double alpha_of(const LoraOptions& options, const Factors& factors) {
  LoraOptions own = options;
  own.r = factors.a.size(0);
  own.alpha = 1;
  return factors.scale / own.scale();
}

bool close(double one, double other) { return std::abs(one - other) <= 1e-12 * std::abs(other); }

// Names as people write them, where they mean the written modules and no others.
class Names {
 public:
  Names(const Written& written, const std::vector<PeftModule>& modules) : written_(written) {
    for (const PeftModule& module : modules) {
      if (module.kind != PeftModule::Kind::Vector) paths_.push_back(module.path);
    }
  }

  Json targets() const {
    std::vector<std::string> names;
    for (const std::string& path : paths_) {
      if (!written_.contains(path)) continue;
      const std::string name = shortest_name(
          path, paths_, [&](const std::string& other) { return written_.contains(other); });
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
  }

  // What `value` gives where it is not `usual`. PEFT's keys are regular expressions for the last
  // parts of a path; the dots in these names match nothing but dots in the names of a model.
  template <typename Value>
  Json pattern(const Value& value, double usual) const {
    Json pattern = Json::object();
    for (const std::string& path : paths_) {
      const auto found = written_.find(path);
      if (found == written_.end() || close(value(found->second), usual)) continue;
      const double own = value(found->second);
      const std::string name = shortest_name(path, paths_, [&](const std::string& other) {
        const auto at = written_.find(other);
        return at == written_.end() || close(value(at->second), own);
      });
      pattern[name] = number_of(own);
    }
    return pattern;
  }

 private:
  const Written& written_;
  std::vector<std::string> paths_;
};

bool any_transposed(const Written& written, const std::vector<PeftModule>& modules) {
  return std::any_of(modules.begin(), modules.end(), [&](const PeftModule& module) {
    return module.transposed() && written.contains(module.path);
  });
}

Json config_of(const LoraOptions& options, const Written& written,
               const std::vector<PeftModule>& modules, const std::string& base_model) {
  const bool gaussian = options.init == LoraOptions::Init::Gaussian;
  const Names names(written, modules);
  Json ranks = names.pattern([](const Factors& one) { return double(one.a.size(0)); },
                             static_cast<double>(options.r));
  Json alphas =
      names.pattern([&](const Factors& one) { return alpha_of(options, one); }, options.alpha);
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
          {"fan_in_fan_out", any_transposed(written, modules)},
          {"init_lora_weights", gaussian ? Json("gaussian") : Json(true)},
          {"target_modules", names.targets()},
          {"modules_to_save", nullptr},
          {"layers_to_transform", nullptr},
          {"layers_pattern", nullptr},
          {"rank_pattern", std::move(ranks)},
          {"alpha_pattern", std::move(alphas)}};
}

bool same_update(const LoraPair& one, const LoraPair* other) {
  const at::Tensor meant = lora_update(one);
  const at::Tensor got = other != nullptr ? lora_update(*other) : at::zeros_like(meant);
  const double largest = meant.abs().max().item<double>();
  return (meant - got).abs().max().item<double>() <= 1e-5 * largest;
}

}  // namespace

void write_peft(const LoraAdapter& adapter, const Model& model, const std::string& base_model,
                const std::string& dir) {
  adapter.check_trainable("the adapter to write");
  const std::vector<PeftModule> modules = peft_modules(model);
  const Written written = factors_of(adapter, modules);
  std::map<std::string, at::Tensor> tensors;
  std::vector<TensorPlan> plan;
  for (const auto& [path, factors] : written) {
    for (const char part : {'A', 'B'}) {
      const std::string name = c10::str("base_model.model.", path, ".lora_", part, ".weight");
      tensors[name] = (part == 'A' ? factors.a : factors.b).contiguous();
      plan.push_back({name, at::kFloat, tensors[name].sizes().vec()});
    }
  }
  CheckpointWriter writer(dir, std::move(plan), std::numeric_limits<uint64_t>::max(),
                          "adapter_model");
  for (const TensorPlan& next : writer.order()) writer.write(next.name, tensors.at(next.name));
  writer.finish();
  write_file(dir + "/adapter_config.json",
             config_of(adapter.options, written, modules, base_model).dump(2) + "\n");
}

void check_written_peft(const LoraAdapter& adapter, const Model& model, const std::string& dir) {
  const at::NoGradGuard no_grad;
  const LoraAdapter again = read_peft(dir, model);
  for (const auto& [place, pair] : adapter.pairs) {
    const LoraPair own{pair.a.detach().cpu(), pair.b.detach().cpu(), pair.scale, {}};
    const auto found = again.pairs.find(place);
    PRUNUS_CHECK(same_update(own, found == again.pairs.end() ? nullptr : &found->second),
                 OutputCheck, dir, ": the adapter on ", role_name(place.second), " of layer ",
                 place.first, " reads back differently");
  }
}

}  // namespace prunus
