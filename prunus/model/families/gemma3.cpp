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
    vector("model.layers.{}.self_attn.q_norm.weight", Role::QNorm, HeadChannels),
    vector("model.layers.{}.self_attn.k_norm.weight", Role::KNorm, HeadChannels),
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

constexpr FixedKey kFixed[] = {{"use_bidirectional_attention", "false"},
                               {"attn_logit_softcapping", "null"}};

// The class without its head.
constexpr std::string_view kArchitectures[] = {"Gemma3TextModel"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// The text part of Gemma 3 (arXiv:2503.19786): five layers with a window and a rotary base of their
// own, then one without.
extern const Family gemma3{
    .model_type = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .tensors = tensors,
    .description = "Gemma 3, text only",
    .other_architectures = kArchitectures,
    .keys = {.activation = "hidden_activation"},
    .fixed_keys = kFixed,
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .tied = {.value = true, .key = "tie_word_embeddings"},
    .qk_norm = {.value = true},
    .norm = NormKind::RmsPlusOne,
    .default_activation = Activation::GeluTanh,
    .local_rope_theta_key = "rope_local_base_freq",
    .window = WindowRule::Pattern,
    .default_sliding_window = 4096,
    .default_window_pattern = 6,
    .embedding_scale = true,
    .score_divisor_key = "query_pre_attn_scalar",
    .default_score_divisor = 256,
    .logit_softcap_key = "final_logit_softcapping",
    .default_kv_heads = 4,
    .default_head_dim = 256,
    .default_max_position_embeddings = 131072,
    .default_rope_theta = 1000000.0,
};

}  // namespace prunus::families
