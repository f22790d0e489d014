#include "prunus/recover/lora.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, Role> kTargets[] = {
    {"q_proj", Role::QProj},       {"k_proj", Role::KProj},       {"v_proj", Role::VProj},
    {"o_proj", Role::OProj},       {"gate_proj", Role::GateProj}, {"up_proj", Role::UpProj},
    {"down_proj", Role::DownProj},
};
constexpr std::string_view kSuffix = ".weight";
constexpr int64_t kMaxRank = int64_t{1} << 16;  // far above any width: the option was mistyped

void check_options(const LoraOptions& options) {
  PRUNUS_CHECK(options.r >= 1 && options.r <= kMaxRank, InvalidArgument, "lora: rank r is ",
               options.r, ", expected 1 to ", kMaxRank);
  PRUNUS_CHECK(std::isfinite(options.alpha) && options.alpha > 0, InvalidArgument,
               "lora: alpha is ", options.alpha, ", expected a number above 0");
  PRUNUS_CHECK(options.dropout >= 0 && options.dropout < 1, InvalidArgument, "lora: dropout is ",
               options.dropout, ", expected [0, 1)");
  PRUNUS_CHECK(!options.targets.empty(), InvalidArgument, "lora: no target weights");
  for (const Role role : options.targets) {
    PRUNUS_CHECK(lora_target_name(role) != "?", InvalidArgument, "lora: role ",
                 static_cast<int>(role), " cannot have an adapter, only the seven projections can");
  }
}

// Finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014): every input bit moves every output
// bit.
uint64_t mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

uint64_t pair_seed(uint64_t seed, int layer, Role role) {
  return mix(mix(mix(seed) + static_cast<uint64_t>(layer)) + static_cast<uint64_t>(role));
}

// On the CPU, so that every device starts from the same numbers.
at::Tensor draw(const std::vector<int64_t>& shape, LoraOptions::Init init, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  at::Tensor a = at::empty(shape, at::kFloat);
  if (init == LoraOptions::Init::Gaussian) {
    return a.normal_(0, 1.0 / static_cast<double>(shape[0]), generator);
  }
  const double bound = 1.0 / std::sqrt(static_cast<double>(shape[1]));
  return a.uniform_(-bound, bound, generator);
}

LoraPair make_pair(const TensorInfo& weight, const LoraOptions& options, uint64_t seed) {
  const int64_t out = weight.shape[0];
  const int64_t in = weight.shape[1];
  PRUNUS_CHECK(out > 0 && in > 0, InvalidArgument, "lora: '", weight.name, "' is ",
               at::IntArrayRef(weight.shape), ", an empty matrix cannot have an adapter");
  const uint64_t stream = pair_seed(seed, weight.layer, weight.spec->role);
  return {draw({options.r, in}, options.init, stream), at::zeros({out, options.r}, at::kFloat),
          options.scale()};
}

}  // namespace

double LoraOptions::scale() const {
  const auto rank = static_cast<double>(r);
  return alpha / (rslora ? std::sqrt(rank) : rank);
}

std::vector<Role> parse_lora_targets(std::string_view text) {
  if (text == "all") return LoraOptions{}.targets;
  std::vector<Role> roles;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view name = text.substr(at, end - at);
    const Role role = parse_named(kTargets, name, "--lora-targets");
    PRUNUS_CHECK(std::find(roles.begin(), roles.end(), role) == roles.end(), InvalidArgument,
                 "--lora-targets '", text, "' names ", name, " twice");
    roles.push_back(role);
    at = end + 1;
  }
  return roles;
}

std::string_view lora_target_name(Role role) { return name_of(kTargets, role); }

LoraAdapter LoraAdapter::make(const Model& model, const LoraOptions& options, uint64_t seed,
                              at::Device device) {
  check_options(options);
  LoraAdapter adapter{options, {}};
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    for (const Role role : options.targets) {
      LoraPair pair = make_pair(model.tensor(role, layer), options, seed);
      pair.a = pair.a.to(device);
      pair.b = pair.b.to(device);
      adapter.pairs.emplace(std::pair(layer, role), std::move(pair));
    }
  }
  return adapter;
}

std::vector<Parameter> LoraAdapter::parameters(const Model& model) {
  std::vector<Parameter> result;
  for (auto& [place, pair] : pairs) {
    const TensorInfo& weight = model.tensor(place.second, place.first);
    for (const char part : {'A', 'B'}) {
      at::Tensor& factor = part == 'A' ? pair.a : pair.b;
      factor.set_requires_grad(true);
      result.push_back({.name = lora_tensor_name(weight, part),
                        .value = factor,
                        .decay = true,
                        .hidden_matrix = true});
    }
  }
  return result;
}

int64_t LoraAdapter::parameter_count() const {
  int64_t count = 0;
  for (const auto& [place, pair] : pairs) count += pair.a.numel() + pair.b.numel();
  return count;
}

std::string lora_tensor_name(const TensorInfo& weight, char part) {
  PRUNUS_CHECK(weight.stored.plain(), Unsupported, "an adapter for '", weight.name,
               "': the checkpoint holds this weight inside another tensor, and PEFT's adapters are "
               "named after whole ones; use recover --full");
  std::string_view module = weight.name;
  if (module.ends_with(kSuffix)) module.remove_suffix(kSuffix.size());
  return c10::str("base_model.model.", module, ".lora_", part, ".weight");
}

}  // namespace prunus
