#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix("model.layers.{}.self_attn.q_proj.weight", Role::QProj, QueryHeads, Hidden),
    matrix("model.layers.{}.self_attn.k_proj.weight", Role::KProj, KeyHeads, Hidden),
    matrix("model.layers.{}.self_attn.v_proj.weight", Role::VProj, ValueHeads, Hidden),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, MixedHeads),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix("model.layers.{}.block_sparse_moe.gate.weight", Role::Router, axes::Expert, Hidden),
    matrix("model.layers.{}.block_sparse_moe.experts.{e}.w1.weight", Role::GateProj, ExpertFfn,
           Hidden),
    matrix("model.layers.{}.block_sparse_moe.experts.{e}.w3.weight", Role::UpProj, ExpertFfn,
           Hidden),
    matrix("model.layers.{}.block_sparse_moe.experts.{e}.w2.weight", Role::DownProj, Hidden,
           ExpertFfn),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr std::string_view kInert[] = {"output_router_logits", "router_aux_loss_coef",
                                       "router_jitter_noise"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// Mixtral 8x7B and 8x22B (arXiv:2401.04088): two of eight experts, weighted by their own softmax.
extern const Family mixtral{
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .tensors = tensors,
    .description = "Mixtral 8x7B, 8x22B",
    .keys = {.experts = "num_local_experts|num_experts"},
    .inert_keys = kInert,
    .window = WindowRule::All,
    .default_kv_heads = 8,
    .default_max_position_embeddings = 131072,
    .default_rms_norm_eps = 1e-5,
    .default_rope_theta = 1000000.0,
    .mixture = true,
    .renormalised_router = {.value = true},
};

}  // namespace prunus::families
