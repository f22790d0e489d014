#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr std::string_view kGateUp = "model.layers.{}.mlp.gate_up_proj.weight";

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix("model.layers.{}.self_attn.q_proj.weight", Role::QProj, WholeQueryHeads, Hidden),
    vector("model.layers.{}.self_attn.q_proj.bias", Role::QBias, WholeQueryHeads),
    matrix("model.layers.{}.self_attn.k_proj.weight", Role::KProj, WholeKeyHeads, Hidden),
    vector("model.layers.{}.self_attn.k_proj.bias", Role::KBias, WholeKeyHeads),
    matrix("model.layers.{}.self_attn.v_proj.weight", Role::VProj, WholeKeyHeads, Hidden),
    vector("model.layers.{}.self_attn.v_proj.bias", Role::VBias, WholeKeyHeads),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, WholeQueryHeads),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix(kGateUp, Role::GateProj, Ffn, Hidden),
    matrix(kGateUp, Role::UpProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// GLM-4-9B as transformers stores it (arXiv:2406.12793).
extern const Family glm{
    .model_type = "glm",
    .architecture = "GlmForCausalLM",
    .tensors = tensors,
    .description = "GLM-4-9B (-hf), GLM-Edge",
    .qkv_bias = {.value = true, .key = "attention_bias"},
    .partial_rotary = true,
    .default_partial_rotary = 0.5,
    .interleaved_rope = true,
    .default_kv_heads = 2,
    .default_head_dim = 128,
    .default_max_position_embeddings = 131072,
    .default_rms_norm_eps = 0.00000015625,
};

}  // namespace prunus::families
