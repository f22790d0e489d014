#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr std::string_view kPack = "model.layers.{}.self_attn.W_pack.weight";

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix(kPack, Role::QProj, WholeQueryHeads, Hidden),
    matrix(kPack, Role::KProj, WholeKeyHeads, Hidden),
    matrix(kPack, Role::VProj, WholeKeyHeads, Hidden),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, WholeQueryHeads),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix("model.layers.{}.mlp.gate_proj.weight", Role::GateProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.up_proj.weight", Role::UpProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr std::string_view kInert[] = {"auto_map",           "gradient_checkpointing",
                                       "z_loss_weight",      "user_token_id",
                                       "assistant_token_id", "_from_model_config"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// Baichuan-13B: ALiBi instead of rotary embedding.
extern const Family baichuan_13b{
    .model_type = "baichuan",
    .architecture = "BaichuanForCausalLM",
    .tensors = tensors,
    .description = "Baichuan-13B",
    .only_with_key = "model_max_length",
    .only_without_key = "z_loss_weight",
    .keys = {.kv_heads = {}, .head_dim = {}, .positions = "model_max_length"},
    .inert_keys = kInert,
    .positions = Positions::Alibi,
    .default_max_position_embeddings = 4096,
};

}  // namespace prunus::families
