#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    matrix("model.layers.{}.self_attn.q_proj.weight", Role::QProj, WholeQueryHeads, Hidden),
    vector("model.layers.{}.self_attn.q_proj.bias", Role::QBias, WholeQueryHeads),
    matrix("model.layers.{}.self_attn.k_proj.weight", Role::KProj, WholeKeyHeads, Hidden),
    vector("model.layers.{}.self_attn.k_proj.bias", Role::KBias, WholeKeyHeads),
    matrix("model.layers.{}.self_attn.v_proj.weight", Role::VProj, WholeKeyHeads, Hidden),
    vector("model.layers.{}.self_attn.v_proj.bias", Role::VBias, WholeKeyHeads),
    vector("model.layers.{}.self_attn.q_norm.weight", Role::QNorm, WholeQueryHeads),
    vector("model.layers.{}.self_attn.k_norm.weight", Role::KNorm, WholeKeyHeads),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, WholeQueryHeads),
    vector("model.layers.{}.self_attn.o_proj.bias", Role::OBias, Hidden),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::PostAttnNorm, Hidden),
    matrix("model.layers.{}.mlp.gate_proj.weight", Role::GateProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.up_proj.weight", Role::UpProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.layers.{}.post_feedforward_layernorm.weight", Role::PostMlpNorm, Hidden),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// OLMo 2 (arXiv:2501.00656): norms behind each part, and over the whole rows of q and k.
extern const Family olmo2{
    .model_type = "olmo2",
    .architecture = "Olmo2ForCausalLM",
    .tensors = tensors,
    .description = "OLMo 2",
    .keys = {.head_dim = {}},
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .qk_norm = {.value = true},
    .qk_norm_rows = true,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
