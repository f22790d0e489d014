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
    matrix("model.layers.{}.mlp.shared_expert.gate_proj.weight", Role::SharedGateProj,
           axes::SharedFfn, Hidden, When::SharedExpert),
    matrix("model.layers.{}.mlp.shared_expert.up_proj.weight", Role::SharedUpProj, axes::SharedFfn,
           Hidden, When::SharedExpert),
    matrix("model.layers.{}.mlp.shared_expert.down_proj.weight", Role::SharedDownProj, Hidden,
           axes::SharedFfn, When::SharedExpert),
    matrix("model.layers.{}.mlp.shared_expert_gate.weight", Role::SharedRouter, axes::One, Hidden,
           When::SharedExpert),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

// With a window on, this family's layers slide by rules of their own.
constexpr FixedKey kFixed[] = {{"use_sliding_window", "false"}};
constexpr std::string_view kInert[] = {"output_router_logits", "router_aux_loss_coef"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// Qwen1.5-MoE and Qwen2-57B-A14B (arXiv:2407.10671): many small experts beside a shared one.
extern const Family qwen2_moe{
    .model_type = "qwen2_moe",
    .architecture = "Qwen2MoeForCausalLM",
    .tensors = tensors,
    .description = "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    .keys = {.experts = "num_experts|num_local_experts", .expert_ffn = "moe_intermediate_size"},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .qkv_bias = {.value = true, .key = "qkv_bias"},
    .default_kv_heads = 16,
    .default_max_position_embeddings = 32768,
    .mixture = true,
    .default_experts_per_token = 4,
    .renormalised_router = {.value = false, .key = "norm_topk_prob"},
    .shared_ffn_key = "shared_expert_intermediate_size",
};

}  // namespace prunus::families
