#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

// q, k and v of a head follow each other.
constexpr TensorSpec fused(TensorSpec spec) { return interleaved(Factor::KvGroup, spec); }

constexpr std::string_view kQkv = "gpt_neox.layers.{}.attention.query_key_value.weight";
constexpr std::string_view kQkvBias = "gpt_neox.layers.{}.attention.query_key_value.bias";

constexpr TensorSpec kTable[] = {
    matrix("gpt_neox.embed_in.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("gpt_neox.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    vector("gpt_neox.layers.{}.input_layernorm.bias", Role::AttnNormBias, Hidden),
    vector("gpt_neox.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    vector("gpt_neox.layers.{}.post_attention_layernorm.bias", Role::MlpNormBias, Hidden),
    fused(matrix(kQkv, Role::QProj, WholeQueryHeads, Hidden)),
    fused(matrix(kQkv, Role::KProj, WholeKeyHeads, Hidden)),
    fused(matrix(kQkv, Role::VProj, WholeKeyHeads, Hidden)),
    fused(vector(kQkvBias, Role::QBias, WholeQueryHeads)),
    fused(vector(kQkvBias, Role::KBias, WholeKeyHeads)),
    fused(vector(kQkvBias, Role::VBias, WholeKeyHeads)),
    matrix("gpt_neox.layers.{}.attention.dense.weight", Role::OProj, Hidden, WholeQueryHeads),
    vector("gpt_neox.layers.{}.attention.dense.bias", Role::OBias, Hidden),
    matrix("gpt_neox.layers.{}.mlp.dense_h_to_4h.weight", Role::UpProj, Ffn, Hidden),
    vector("gpt_neox.layers.{}.mlp.dense_h_to_4h.bias", Role::UpBias, Ffn),
    matrix("gpt_neox.layers.{}.mlp.dense_4h_to_h.weight", Role::DownProj, Hidden, Ffn),
    vector("gpt_neox.layers.{}.mlp.dense_4h_to_h.bias", Role::DownBias, Hidden),
    vector("gpt_neox.final_layer_norm.weight", Role::FinalNorm, Hidden),
    vector("gpt_neox.final_layer_norm.bias", Role::FinalNormBias, Hidden),
    matrix("embed_out.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr std::string_view kInert[] = {"attention_dropout", "hidden_dropout", "classifier_dropout"};
constexpr std::string_view kBuffers[] = {"attention.bias", "attention.masked_bias"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// GPT-NeoX-20B (arXiv:2204.06745) and Pythia (arXiv:2304.01373).
extern const Family gpt_neox{
    .model_type = "gpt_neox",
    .architecture = "GPTNeoXForCausalLM",
    .tensors = tensors,
    .description = "GPT-NeoX-20B, Pythia, Dolly 2",
    .keys = {.kv_heads = {},
             .head_dim = {},
             .eps = "layer_norm_eps",
             .rope_theta = "rotary_emb_base",
             .partial_rotary = "rotary_pct"},
    .inert_keys = kInert,
    .derived_buffers = kBuffers,
    .qkv_bias = {.value = true, .key = "attention_bias"},
    .out_bias = {.value = true, .key = "attention_bias"},
    .mlp_bias = {.value = true},
    .norm = NormKind::Layer,
    .parallel_residual = {.value = true, .key = "use_parallel_residual"},
    .gated = false,
    .default_activation = Activation::Gelu,
    .partial_rotary = true,
    .default_partial_rotary = 0.25,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
