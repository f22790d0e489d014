#include "prunus/model/family.h"

namespace prunus::families {

// Gemma 1 (arXiv:2403.08295): Llama's layers with scaled embeddings and norms that store gain − 1.
extern const Family gemma{
    .model_type = "gemma",
    .architecture = "GemmaForCausalLM",
    .tensors = llama_tensors,
    .description = "Gemma 1, CodeGemma",
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .tied = {.value = true, .key = "tie_word_embeddings"},
    .norm = NormKind::RmsPlusOne,
    .default_activation = Activation::GeluTanh,
    .gelu_means_tanh = true,
    .embedding_scale = true,
    .default_kv_heads = 16,
    .default_head_dim = 256,
    .default_max_position_embeddings = 8192,
};

}  // namespace prunus::families
