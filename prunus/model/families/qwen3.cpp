#include "prunus/model/family.h"

namespace prunus::families {

// Qwen3 (arXiv:2505.09388): RMSNorm over each head of q and k, head_dim given on its own.
extern const Family qwen3{
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .tensors = llama_tensors,
    .description = "Qwen3",
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .qk_norm = {.value = true},
    .window = WindowRule::Gated,
    .default_sliding_window = 4096,
    .default_kv_heads = 32,
    .default_head_dim = 128,
    .default_max_position_embeddings = 32768,
};

}  // namespace prunus::families
