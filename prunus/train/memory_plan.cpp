#include "prunus/train/memory_plan.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"
#include "prunus/model/cost.h"
#include "prunus/train/loss_head.h"

namespace prunus {
namespace {

constexpr double kFloat = 4;
constexpr double kTrainingCode = 32.0 * (1 << 20);  // what libtorch loads for the first backward
constexpr double kHeadPieceBytes = 64.0 * (1 << 20);

double elements(const TensorInfo& tensor) {
  double count = 1;
  for (const int64_t size : tensor.shape) count *= static_cast<double>(size);
  return count;
}

double stored_bytes(const Model& model, const TensorInfo& tensor) {
  return elements(tensor) * static_cast<double>(c10::elementSize(model.source().dtype(tensor)));
}

bool frozen_as_int8(const MemoryRequest& request, const TensorInfo& tensor) {
  return request.int8_base && tensor.layer >= 0 && tensor.spec->rank == 2;
}

double frozen_bytes(const Model& model, const MemoryRequest& request) {
  double bytes = 0;
  for (const TensorInfo& tensor : model.tensors()) {
    bytes += frozen_as_int8(request, tensor) ? elements(tensor) * (1 + kFloat / 64)
                                             : stored_bytes(model, tensor);
  }
  return bytes;
}

// FP32 copy of the largest matrix that has to be converted for a product.
double conversion_bytes(const Model& model, const MemoryRequest& request) {
  double largest = 0;
  for (const TensorInfo& tensor : model.tensors()) {
    const bool converted =
        frozen_as_int8(request, tensor) || model.source().dtype(tensor) != at::kFloat;
    if (tensor.layer >= 0 && converted) largest = std::max(largest, elements(tensor) * kFloat);
  }
  return largest;
}

// Inner channels of the feed-forward part: training runs every expert on every token.
double inner_channels(const LayerShape& layer) {
  const int64_t experts = std::max<int64_t>(1, layer.experts);
  return static_cast<double>(experts * layer.intermediate_size + layer.shared_intermediate_size);
}

// Norms over the hidden channels in a layer.
double layer_norms(const ModelConfig& config) {
  double norms = 0;
  for (const TensorSpec& spec : config.family->tensors()) {
    const Role role = spec.role;
    norms += role == Role::AttnNorm || role == Role::MlpNorm || role == Role::PostAttnNorm ||
             role == Role::PostMlpNorm;
  }
  return norms;
}

// Scores that are written out, per token: a soft cap keeps its tanh and the softmax behind it;
// ALiBi adds a bias to those of each head, the same for all rows.
double score_values(const ModelConfig& config, const LayerShape& layer,
                    const MemoryRequest& request) {
  const auto scores = static_cast<double>(layer.num_attention_heads * request.row_tokens);
  if (config.attention_softcap != 0) return 2 * scores;
  const bool alibi = config.family->positions == Positions::Alibi;
  return alibi ? scores / static_cast<double>(request.micro_rows) : 0;
}

// Values that autograd keeps of one layer, per token.
double kept_values(const ModelConfig& config, const LayerShape& layer,
                   const MemoryRequest& request) {
  const auto hidden = static_cast<double>(config.hidden_size);
  const double heads = static_cast<double>(layer.num_attention_heads * config.head_dim);
  const double inner = inner_channels(layer);
  const double norms = layer_norms(config);
  const bool layer_norm = config.family->norm == NormKind::Layer;
  double values = (2 + norms) * hidden + 5 * heads + (config.family->gated ? 4 : 2) * inner;
  if (layer.experts > 0) values += inner;  // before and after the router's weights
  if (layer_norm) values += norms * hidden;
  if (request.full) values += norms * hidden;
  if (!request.full && request.lora.dropout > 0) values += 5 * hidden + heads + inner;
  return values + score_values(config, layer, request);
}

// Values that come and go in a layer's backward pass, per token.
double passing_values(const ModelConfig& config, const LayerShape& layer) {
  return 3 * inner_channels(layer) + 4 * static_cast<double>(config.hidden_size);
}

double activation_bytes(const Model& model, const MemoryRequest& request) {
  const ModelConfig& config = model.config();
  const double width = request.half_compute ? 2 : kFloat;
  double all = 0;
  double largest = 0;
  double passing = 0;
  for (const LayerShape& layer : config.layers) {
    const double kept = kept_values(config, layer, request) * width;
    const double making = passing_values(config, layer) * kFloat;
    all += kept;
    largest = std::max(largest, kept + making);
    passing = std::max(passing, making);
  }
  const double hidden = kFloat * static_cast<double>(config.hidden_size * model.layer_count());
  const double per_token = request.checkpoint_blocks ? largest + hidden : all + passing;
  return per_token * static_cast<double>(request.micro_rows * request.row_tokens);
}

double head_bytes(const Model& model, const MemoryRequest& request) {
  const auto tokens = static_cast<double>(request.micro_rows * request.row_tokens);
  const auto vocab = static_cast<double>(model.config().vocab_size);
  double bytes = std::min(static_cast<double>(LossHead::kLogitBytes), tokens * vocab * kFloat);
  if (request.teacher != nullptr) bytes *= 4;
  const TensorInfo& head = model.tensor(Role::LmHead);
  if (!request.full && model.source().dtype(head) != at::kFloat) {
    bytes += std::min(kHeadPieceBytes, elements(head) * kFloat);
  }
  return bytes;
}

double teacher_bytes(const MemoryRequest& request) {
  const Model& teacher = *request.teacher;
  double largest = 0;
  double all = 0;
  for (int layer = 0; layer < teacher.layer_count(); ++layer) {
    double block = 0;
    for (const TensorInfo& tensor : teacher.tensors()) {
      if (tensor.layer == layer) block += elements(tensor) * kFloat;
    }
    largest = std::max(largest, block);
    all += block;
  }
  const auto tokens = static_cast<double>(request.batch_rows * request.row_tokens);
  const auto hidden = static_cast<double>(teacher.config().hidden_size);
  const double head = elements(teacher.tensor(Role::LmHead)) * kFloat;
  return (request.teacher_resident ? all : largest) + std::min(head, kHeadPieceBytes) +
         tokens * hidden * kFloat * static_cast<double>(2 + request.seams);
}

double step_flops(const Model& model, const MemoryRequest& request) {
  const auto tokens = static_cast<double>(request.batch_rows * request.row_tokens);
  const auto flops = [&](const ModelConfig& config) {
    return 2 * count_macs(config, request.row_tokens).total() /
           static_cast<double>(request.row_tokens);
  };
  ModelConfig trained = model.config();
  for (const LayerShape& layer : trained.layers) {
    trained.experts_per_token = std::max(trained.experts_per_token, layer.experts);
  }
  double passes = request.full ? 3 : 2;
  if (request.checkpoint_blocks) passes += 1;
  double per_token = passes * flops(trained);
  if (!request.full) per_token += 6 * static_cast<double>(request.trained);
  if (request.teacher != nullptr) per_token += flops(request.teacher->config());
  return tokens * per_token;
}

}  // namespace

double MemoryPlan::total_bytes() const {
  double total = 0;
  for (const Item& item : items) total += item.bytes;
  return total;
}

MemoryPlan plan_memory(const Model& model, const MemoryRequest& request) {
  MemoryPlan plan;
  const auto add = [&](const char* what, double bytes) {
    if (bytes > 0) plan.items.push_back({what, bytes});
  };
  const auto trained = static_cast<double>(request.trained);
  add("program and libraries", static_cast<double>(resident_memory_bytes()) + kTrainingCode);
  if (request.full) {
    add("weights, FP32", trained * kFloat);
  } else {
    add(request.int8_base ? "frozen weights, layers in INT8" : "frozen weights, as in the file",
        frozen_bytes(model, request));
    add("one weight converted for its product", conversion_bytes(model, request));
    add("adapters", trained * kFloat);
  }
  add("gradients", trained * kFloat);
  const bool muon = request.optimizer == OptimizerOptions::Kind::Muon;
  add("optimiser states", trained * kFloat * (muon ? 1 : 2));
  add(request.checkpoint_blocks ? "activations, one layer at a time" : "activations, all layers",
      activation_bytes(model, request));
  add("logits and head", head_bytes(model, request));
  if (request.teacher != nullptr) {
    add(request.teacher_resident ? "teacher, resident" : "teacher, streamed",
        teacher_bytes(request));
  }
  plan.flops_per_step = step_flops(model, request);
  return plan;
}

MemoryPlan settle_memory(const Model& model, MemoryRequest& request, Checkpointing wish,
                         at::Device device, bool ignore) {
  request.checkpoint_blocks = wish == Checkpointing::On;
  MemoryPlan plan = plan_memory(model, request);
  const bool cpu = device.is_cpu();
  const double free =
      static_cast<double>(available_memory_bytes()) + static_cast<double>(resident_memory_bytes());
  if (wish == Checkpointing::Auto && cpu && plan.total_bytes() > 0.8 * free) {
    request.checkpoint_blocks = true;
    plan = plan_memory(model, request);
  }
  log_info(to_text(plan));
  PRUNUS_CHECK(!cpu || ignore || plan.total_bytes() <= free, InvalidArgument,
               "this run would take ", human_bytes(static_cast<int64_t>(plan.total_bytes())),
               ", but only ", human_bytes(static_cast<int64_t>(free)),
               " can be had; lower --micro-batch or --row-tokens, pass --checkpoint on, train "
               "adapters instead of --full, or pass --ignore-memory to try all the same");
  return plan;
}

std::string to_text(const MemoryPlan& plan) {
  std::string text = "memory this run will take:";
  for (const MemoryPlan::Item& item : plan.items) {
    const std::string size = human_bytes(static_cast<int64_t>(item.bytes));
    text += c10::str("\n  ", std::string(std::max<size_t>(12, size.size()) - size.size(), ' '),
                     size, "  ", item.what);
  }
  const std::string total = human_bytes(static_cast<int64_t>(plan.total_bytes()));
  text += c10::str("\n  ", std::string(std::max<size_t>(12, total.size()) - total.size(), ' '),
                   total, "  in all");
  return text;
}

Json to_json(const MemoryPlan& plan) {
  Json items = Json::object();
  for (const MemoryPlan::Item& item : plan.items) {
    items[item.what] = static_cast<int64_t>(item.bytes);
  }
  return {{"bytes", static_cast<int64_t>(plan.total_bytes())},
          {"parts", items},
          {"flops_per_step", plan.flops_per_step}};
}

}  // namespace prunus
