#include "prunus/model/cost.h"

#include <algorithm>
#include <numeric>

#include "prunus/base/checked.h"
#include "prunus/base/error.h"
#include "prunus/model/model.h"

namespace prunus {
namespace {

// Far above any published model. 2^44 parameters at 16 bytes, or the keys and values of 2^17 tokens
// at two, still fit in 64 bits.
constexpr uint64_t kMaxParameters = uint64_t{1} << 44;
constexpr int64_t kMaxRank = int64_t{1} << 16;

double number(int64_t value) { return static_cast<double>(value); }

uint64_t checked_parameters(const TensorInfo& tensor) {
  std::optional<uint64_t> product = 1;
  for (const int64_t size : tensor.shape) {
    product = checked_mul(*product, static_cast<uint64_t>(size));
    PRUNUS_CHECK(product && *product <= kMaxParameters, Corrupt, "config.json asks for a tensor '",
                 tensor.name, "' of shape ", c10::IntArrayRef(tensor.shape),
                 ": no model is that large");
  }
  return *product;
}

void check_tokens(int64_t tokens) {
  PRUNUS_CHECK(tokens >= 0, InvalidArgument, "cost of ", tokens, " tokens");
}

// Σ_{t=1..tokens} min(t, window)
double keys_seen(int64_t tokens, std::optional<int64_t> window) {
  const double all = number(tokens);
  const double growing = number(std::min(tokens, window.value_or(tokens)));
  return growing * (growing + 1) / 2 + (all - growing) * growing;
}

bool adapted(Role role) {
  switch (role) {
    case Role::QProj:
    case Role::KProj:
    case Role::VProj:
    case Role::OProj:
    case Role::GateProj:
    case Role::UpProj:
    case Role::DownProj:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::array<int64_t, kRoleCount> parameters_by_role(const ModelConfig& config) {
  std::array<int64_t, kRoleCount> counts{};
  uint64_t total = 0;
  for (const TensorInfo& tensor : tensors_of(config)) {
    const uint64_t parameters = checked_parameters(tensor);
    total += parameters;
    PRUNUS_CHECK(total <= kMaxParameters, Corrupt, "config.json asks for more than ",
                 kMaxParameters, " parameters: no model is that large");
    counts[static_cast<size_t>(tensor.spec->role)] += static_cast<int64_t>(parameters);
  }
  return counts;
}

int64_t count_parameters(const ModelConfig& config) {
  const auto counts = parameters_by_role(config);
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

Macs count_macs(const ModelConfig& config, int64_t tokens) {
  check_tokens(tokens);
  const double t = number(tokens);
  const double h = number(config.hidden_size);
  const double d = number(config.head_dim);
  Macs macs;
  for (const LayerShape& layer : config.layers) {
    const double n = number(layer.num_attention_heads);
    const double g = number(layer.num_key_value_heads);
    macs.projections += 2 * t * h * d * (n + g);
    macs.attention += 2 * n * d * keys_seen(tokens, layer.sliding_window);
    const double matrices = config.family->gated ? 3 : 2;
    const int64_t used = layer.experts == 0 ? 1 : std::min(layer.experts, config.experts_per_token);
    macs.ffn +=
        matrices * t * h * number(used * layer.intermediate_size + layer.shared_intermediate_size);
    macs.ffn += t * h * number(layer.experts + (layer.shared_intermediate_size > 0 ? 1 : 0));
  }
  macs.head = t * h * number(config.vocab_size);
  return macs;
}

double llm_pruner_macs(const ModelConfig& config, int64_t tokens) {
  check_tokens(tokens);
  const double s = number(tokens);
  const double h = number(config.hidden_size);
  const double d = number(config.head_dim);
  double macs = s * h * number(config.vocab_size) + 2 * s * h;
  for (const LayerShape& layer : config.layers) {
    const double n = number(layer.num_attention_heads);
    const double i = number(layer.intermediate_size);
    macs += 4 * s * h * n * d + n * (2 * s * s * d + s * s) + 4 * s * n * d;
    macs += 3 * s * h * i + s * i;
    for (const SubLayer part : {SubLayer::Attention, SubLayer::FeedForward}) {
      if (layer.has(part)) macs += 2 * s * h;
    }
  }
  return macs;
}

double weight_bytes(const ModelConfig& config, double bits) {
  return number(count_parameters(config)) * bits / 8;
}

double kv_cache_bytes(const ModelConfig& config, int64_t tokens, double bits) {
  check_tokens(tokens);
  double elements = 0;
  for (const LayerShape& layer : config.layers) {
    const int64_t held = std::min(tokens, layer.sliding_window.value_or(tokens));
    elements += 2 * number(layer.num_key_value_heads) * number(config.head_dim) * number(held);
  }
  return elements * bits / 8;
}

int64_t lora_parameters(const ModelConfig& config, int64_t rank) {
  PRUNUS_CHECK(rank >= 1 && rank <= kMaxRank, InvalidArgument, "LoRA rank ", rank,
               ", expected 1 to ", kMaxRank);
  count_parameters(config);  // refuses sizes whose sums would not fit
  int64_t count = 0;
  for (const TensorInfo& tensor : tensors_of(config)) {
    if (adapted(tensor.spec->role)) count += rank * (tensor.shape[0] + tensor.shape[1]);
  }
  return count;
}

FineTuningBytes fine_tuning_bytes(const ModelConfig& config, int64_t rank) {
  const auto counts = parameters_by_role(config);
  int64_t inside = 0;
  int64_t all = 0;
  for (size_t role = 0; role < counts.size(); ++role) {
    all += counts[role];
    if (adapted(static_cast<Role>(role))) inside += counts[role];
  }
  const double adapters = 16 * number(lora_parameters(config, rank));
  return {.full_bf16 = 8 * number(all),
          .full_mixed = 16 * number(all),
          .lora = 2 * number(all) + adapters,
          .qlora = number(inside) * kNf4Bits / 8 + 2 * number(all - inside) + adapters};
}

}  // namespace prunus
