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
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix("model.layers.{}.mlp.gate_proj.weight", Role::GateProj, Ffn, Hidden, When::Dense),
    matrix("model.layers.{}.mlp.up_proj.weight", Role::UpProj, Ffn, Hidden, When::Dense),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn, When::Dense),
    matrix("model.layers.{}.mlp.gate.weight", Role::Router, axes::Expert, Hidden, When::Experts),
    matrix("model.layers.{}.mlp.experts.{e}.gate_proj.weight", Role::GateProj, ExpertFfn, Hidden,
           When::Experts),
    matrix("model.layers.{}.mlp.experts.{e}.up_proj.weight", Role::UpProj, ExpertFfn, Hidden,
           When::Experts),
    matrix("model.layers.{}.mlp.experts.{e}.down_proj.weight", Role::DownProj, Hidden, ExpertFfn,
           When::Experts),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

// With a window on, this family's layers slide by rules of their own.
constexpr FixedKey kFixed[] = {{"use_sliding_window", "false"}};
constexpr std::string_view kInert[] = {"output_router_logits", "router_aux_loss_coef"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// Qwen3-30B-A3B and Qwen3-235B-A22B (arXiv:2505.09388).
extern const Family qwen3_moe{
    .model_type = "qwen3_moe",
    .architecture = "Qwen3MoeForCausalLM",
    .tensors = tensors,
    .description = "Qwen3-30B-A3B, Qwen3-235B-A22B",
    .keys = {.experts = "num_experts|num_local_experts", .expert_ffn = "moe_intermediate_size"},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .qkv_bias = {.value = false, .key = "attention_bias"},
    .out_bias = {.value = false, .key = "attention_bias"},
    .qk_norm = {.value = true},
    .default_kv_heads = 4,
    .default_max_position_embeddings = 32768,
    .mixture = true,
    .default_experts_per_token = 8,
    .renormalised_router = {.value = false, .key = "norm_topk_prob"},
};

}  // namespace prunus::families
