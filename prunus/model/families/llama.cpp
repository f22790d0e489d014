#include "prunus/model/family.h"

namespace prunus::families {

// Llama 1, 2, 3, 3.1, 3.2 (Touvron et al., arXiv:2302.13971, arXiv:2307.09288; arXiv:2407.21783).
extern const Family llama{
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .tensors = llama_tensors,
    .description = "Llama 1 to 3.3, Vicuna, TinyLlama, SmolLM, Yi, DeepSeek-LLM",
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .mlp_bias = {.value = false, .key = "mlp_bias"},
    .write_indivisible_as = "mistral",
};

}  // namespace prunus::families
