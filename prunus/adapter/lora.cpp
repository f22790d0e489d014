#include "prunus/adapter/lora.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "prunus/adapter/lora_targets.h"
#include "prunus/base/error.h"
#include "prunus/base/rng.h"
#include "prunus/model/layout.h"

namespace prunus {
namespace {

constexpr std::string_view kSuffix = ".weight";

void check_options(const LoraOptions& options) {
  PRUNUS_CHECK(options.r >= 1 && options.r <= kMaxRank, InvalidArgument, "lora: rank r is ",
               options.r, ", expected 1 to ", kMaxRank);
  PRUNUS_CHECK(std::isfinite(options.alpha) && options.alpha > 0, InvalidArgument,
               "lora: alpha is ", options.alpha, ", expected a number above 0");
  PRUNUS_CHECK(options.dropout >= 0 && options.dropout < 1, InvalidArgument, "lora: dropout is ",
               options.dropout, ", expected [0, 1)");
}

uint64_t pair_seed(uint64_t seed, int layer, Role role) {
  return splitmix64(splitmix64(splitmix64(seed) + static_cast<uint64_t>(layer)) +
                    static_cast<uint64_t>(role));
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

LoraAdapter LoraAdapter::make(const Model& model, const LoraOptions& options, uint64_t seed,
                              at::Device device) {
  check_options(options);
  LoraAdapter adapter{options, {}};
  for (const auto& [layer, role] : lora_targets(model, options.targets)) {
    LoraPair pair = make_pair(model.tensor(role, layer), options, seed);
    pair.a = pair.a.to(device);
    pair.b = pair.b.to(device);
    adapter.pairs.emplace(std::pair(layer, role), std::move(pair));
  }
  return adapter;
}

void LoraAdapter::check_trainable(const std::string& where) const {
  constexpr const char* kMerge = "; merge it first (prunus merge) and recover the result";
  for (const auto& [place, pair] : pairs) {
    const auto& [layer, role] = place;
    PRUNUS_CHECK(layer >= 0 && is_lora_role(role), Unsupported, where, ": has an adapter on ",
                 role_name(role), ", and only those on the layers' projections are trained",
                 kMerge);
    PRUNUS_CHECK(!pair.magnitude.defined(), Unsupported, where, ": has DoRA magnitudes on ",
                 role_name(role), " of layer ", layer, ", and plain LoRA alone is trained", kMerge);
  }
  PRUNUS_CHECK(replaced.empty(), Unsupported, where, ": brings the whole tensor '",
               replaced.begin()->first,
               "' (modules_to_save or a trained bias), and adapters alone "
               "are trained here",
               kMerge);
  PRUNUS_CHECK(added.empty(), Unsupported, where, ": adds to the bias '", added.begin()->first,
               "' (lora_bias), and adapters alone are trained here", kMerge);
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
  std::string module = weight.name;
  const auto at = module.rfind(kSuffix);
  if (at != std::string::npos) module.erase(at, kSuffix.size());
  return c10::str("base_model.model.", module, ".lora_", part, ".weight");
}

at::Tensor lora_update(const LoraPair& pair) {
  const at::NoGradGuard no_grad;
  return at::mm(pair.b, pair.a).mul_(pair.scale);
}

}  // namespace prunus
