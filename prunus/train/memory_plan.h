#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/adapter/lora.h"
#include "prunus/base/json.h"
#include "prunus/model/model.h"
#include "prunus/train/optimizer.h"

namespace prunus {

/// Whether layers are recomputed in the backward pass.
enum class Checkpointing { Auto, On, Off };  ///< Auto: where their activations would not fit

/// What a training run is, as far as its memory and arithmetic go.
struct MemoryRequest {
  bool full = false;    ///< all weights; else adapters
  int64_t trained = 0;  ///< parameters that are trained
  LoraOptions lora;     ///< of adapters
  bool int8_base = false;
  OptimizerOptions::Kind optimizer = OptimizerOptions::Kind::AdamW;
  int64_t micro_rows = 1;
  int64_t batch_rows = 1;
  int64_t row_tokens = 1;  ///< longest row
  bool checkpoint_blocks = false;
  bool half_compute = false;  ///< BF16 products: activations of the layers take half
  const Model* teacher = nullptr;
  bool teacher_resident = false;
  int64_t seams = 0;
};

/// Where memory goes, in bytes, at the moment of the largest use, and arithmetic per step.
struct MemoryPlan {
  struct Item {
    std::string what;
    double bytes = 0;
  };
  std::vector<Item> items;
  double flops_per_step = 0;  ///< multiplications and additions, recomputation and teacher included
  double total_bytes() const;
};

/// Adds up what a run will hold. Activations by what autograd keeps of one layer per token, in
/// values: (2 + norms)·hidden + 5·heads·head_dim + 4·inner, norms = those over the hidden channels
/// of a layer, inner = channels of the feed-forward part, of all its experts together. 2·inner
/// where it is not gated, 5·inner for experts; norms·hidden more where norms are trained, and again
/// where they are LayerNorms; dropout's masks, and scores that are written out (soft cap, ALiBi),
/// come on top. In every layer, or with checkpoint_blocks in one, and one hidden state per layer.
/// "program and libraries" is this process's resident memory at the call.
MemoryPlan plan_memory(const Model& model, const MemoryRequest& request);

/// Plans a run, says the plan on stderr, sets request.checkpoint_blocks by `wish` (Auto: where more
/// than 80 % of what can be had on the CPU would be taken), and refuses what cannot fit. On the CPU
/// a program does well to call reuse_tensor_memory() before; for a library that would be too much.
/// Throws InvalidArgument where the CPU's memory will not do and `ignore` is false.
MemoryPlan settle_memory(const Model& model, MemoryRequest& request, Checkpointing wish,
                         at::Device device, bool ignore);

/// The plan as lines for people, and for run.json.
std::string to_text(const MemoryPlan& plan);
Json to_json(const MemoryPlan& plan);

}  // namespace prunus
