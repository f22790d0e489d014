#include "prunus/model/family.h"

namespace prunus::families {

// Qwen2 and Qwen2.5 (arXiv:2407.10671): biases on q, k, v; a window only where the config asks.
extern const Family qwen2{
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .tensors = llama_tensors,
    .description = "Qwen2, Qwen2.5",
    .qkv_bias = {.value = true},
    .window = WindowRule::Gated,
    .default_sliding_window = 4096,
    .default_kv_heads = 32,
    .default_max_position_embeddings = 32768,
};

}  // namespace prunus::families
