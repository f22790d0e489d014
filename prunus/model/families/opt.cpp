#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr TensorSpec kTable[] = {
    matrix("model.decoder.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    matrix("model.decoder.embed_positions.weight", Role::EmbedPositions, axes::Position, Hidden),
    vector("model.decoder.layers.{}.self_attn_layer_norm.weight", Role::AttnNorm, Hidden),
    vector("model.decoder.layers.{}.self_attn_layer_norm.bias", Role::AttnNormBias, Hidden),
    matrix("model.decoder.layers.{}.self_attn.q_proj.weight", Role::QProj, WholeQueryHeads, Hidden),
    vector("model.decoder.layers.{}.self_attn.q_proj.bias", Role::QBias, WholeQueryHeads),
    matrix("model.decoder.layers.{}.self_attn.k_proj.weight", Role::KProj, WholeKeyHeads, Hidden),
    vector("model.decoder.layers.{}.self_attn.k_proj.bias", Role::KBias, WholeKeyHeads),
    matrix("model.decoder.layers.{}.self_attn.v_proj.weight", Role::VProj, WholeKeyHeads, Hidden),
    vector("model.decoder.layers.{}.self_attn.v_proj.bias", Role::VBias, WholeKeyHeads),
    matrix("model.decoder.layers.{}.self_attn.out_proj.weight", Role::OProj, Hidden,
           WholeQueryHeads),
    vector("model.decoder.layers.{}.self_attn.out_proj.bias", Role::OBias, Hidden),
    vector("model.decoder.layers.{}.final_layer_norm.weight", Role::MlpNorm, Hidden),
    vector("model.decoder.layers.{}.final_layer_norm.bias", Role::MlpNormBias, Hidden),
    matrix("model.decoder.layers.{}.fc1.weight", Role::UpProj, Ffn, Hidden),
    vector("model.decoder.layers.{}.fc1.bias", Role::UpBias, Ffn),
    matrix("model.decoder.layers.{}.fc2.weight", Role::DownProj, Hidden, Ffn),
    vector("model.decoder.layers.{}.fc2.bias", Role::DownBias, Hidden),
    vector("model.decoder.final_layer_norm.weight", Role::FinalNorm, Hidden, When::LastNorm),
    vector("model.decoder.final_layer_norm.bias", Role::FinalNormBias, Hidden, When::LastNorm),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr FixedKey kFixed[] = {{"layer_norm_elementwise_affine", "true"},
                               {"_remove_final_layer_norm", "false"}};
constexpr std::string_view kInert[] = {"dropout", "layerdrop", "activation_dropout", "init_std"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// OPT (arXiv:2205.01068). With norms behind the sums (OPT-350m) there is none at the end.
extern const Family opt{
    .model_type = "opt",
    .architecture = "OPTForCausalLM",
    .tensors = tensors,
    .description = "OPT; not 350m, whose embeddings are narrower than its layers",
    .keys = {.kv_heads = {},
             .head_dim = {},
             .ffn = "ffn_dim",
             .eps = {},
             .activation = "activation_function"},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .embedding_width_key = "word_embed_proj_dim",
    .qkv_bias = {.value = true, .key = "enable_bias"},
    .out_bias = {.value = true, .key = "enable_bias"},
    .mlp_bias = {.value = true, .key = "enable_bias"},
    .tied = {.value = true, .key = "tie_word_embeddings"},
    .norm = NormKind::Layer,
    .final_norm = {.value = true, .key = "do_layer_norm_before"},
    .pre_norm = {.value = true, .key = "do_layer_norm_before"},
    .gated = false,
    .default_activation = Activation::Relu,
    .positions = Positions::Learned,
    .position_offset = 2,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
