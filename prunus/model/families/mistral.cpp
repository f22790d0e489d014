#include "prunus/model/family.h"

namespace prunus::families {

// Mistral 7B (arXiv:2310.06825), Nemo, Small: Llama's layers with an optional sliding window.
extern const Family mistral{
    .model_type = "mistral",
    .architecture = "MistralForCausalLM",
    .tensors = llama_tensors,
    .description = "Mistral 7B, Nemo, Small",
    .window = WindowRule::All,
    .default_sliding_window = 4096,
    .default_kv_heads = 8,
    .default_max_position_embeddings = 131072,
};

}  // namespace prunus::families
