#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix("model.layers.{}.self_attn.q_proj.weight", Role::QProj, QueryHeads, Hidden),
    vector("model.layers.{}.self_attn.q_proj.bias", Role::QBias, QueryHeads),
    matrix("model.layers.{}.self_attn.k_proj.weight", Role::KProj, KeyHeads, Hidden),
    vector("model.layers.{}.self_attn.k_proj.bias", Role::KBias, KeyHeads),
    matrix("model.layers.{}.self_attn.v_proj.weight", Role::VProj, ValueHeads, Hidden),
    vector("model.layers.{}.self_attn.v_proj.bias", Role::VBias, ValueHeads),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, MixedHeads),
    vector("model.layers.{}.self_attn.o_proj.bias", Role::OBias, Hidden),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::PostAttnNorm, Hidden),
    vector("model.layers.{}.pre_feedforward_layernorm.weight", Role::MlpNorm, Hidden),
    matrix("model.layers.{}.mlp.gate_proj.weight", Role::GateProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.up_proj.weight", Role::UpProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.layers.{}.post_feedforward_layernorm.weight", Role::PostMlpNorm, Hidden),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr FixedKey kFixed[] = {{"use_bidirectional_attention", "false"}};

constexpr std::string_view kInert[] = {"sliding_window_size", "hidden_act"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// Gemma 2 (arXiv:2408.00118): norms on both sides of each part, soft caps, every other layer with a
// window.
extern const Family gemma2{
    .model_type = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .tensors = tensors,
    .description = "Gemma 2",
    .keys = {.activation = "hidden_activation"},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .tied = {.value = true, .key = "tie_word_embeddings"},
    .norm = NormKind::RmsPlusOne,
    .default_activation = Activation::GeluTanh,
    .window = WindowRule::Pattern,
    .default_sliding_window = 4096,
    .embedding_scale = true,
    .score_divisor_key = "query_pre_attn_scalar",
    .default_score_divisor = 256,
    .attention_softcap_key = "attn_logit_softcapping",
    .default_attention_softcap = 50.0,
    .logit_softcap_key = "final_logit_softcapping",
    .default_logit_softcap = 30.0,
    .default_kv_heads = 4,
    .default_head_dim = 256,
    .default_max_position_embeddings = 8192,
};

}  // namespace prunus::families
