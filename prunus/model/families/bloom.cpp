#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

// q, k and v of a head follow each other.
constexpr TensorSpec fused(TensorSpec spec) { return interleaved(Factor::KvGroup, spec); }

constexpr std::string_view kQkv = "transformer.h.{}.self_attention.query_key_value.weight";
constexpr std::string_view kQkvBias = "transformer.h.{}.self_attention.query_key_value.bias";

constexpr TensorSpec kTable[] = {
    matrix("transformer.word_embeddings.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("transformer.word_embeddings_layernorm.weight", Role::EmbedNorm, Hidden),
    vector("transformer.word_embeddings_layernorm.bias", Role::EmbedNormBias, Hidden),
    vector("transformer.h.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    vector("transformer.h.{}.input_layernorm.bias", Role::AttnNormBias, Hidden),
    fused(matrix(kQkv, Role::QProj, WholeQueryHeads, Hidden)),
    fused(matrix(kQkv, Role::KProj, WholeKeyHeads, Hidden)),
    fused(matrix(kQkv, Role::VProj, WholeKeyHeads, Hidden)),
    fused(vector(kQkvBias, Role::QBias, WholeQueryHeads)),
    fused(vector(kQkvBias, Role::KBias, WholeKeyHeads)),
    fused(vector(kQkvBias, Role::VBias, WholeKeyHeads)),
    matrix("transformer.h.{}.self_attention.dense.weight", Role::OProj, Hidden, WholeQueryHeads),
    vector("transformer.h.{}.self_attention.dense.bias", Role::OBias, Hidden),
    vector("transformer.h.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    vector("transformer.h.{}.post_attention_layernorm.bias", Role::MlpNormBias, Hidden),
    matrix("transformer.h.{}.mlp.dense_h_to_4h.weight", Role::UpProj, Ffn, Hidden),
    vector("transformer.h.{}.mlp.dense_h_to_4h.bias", Role::UpBias, Ffn),
    matrix("transformer.h.{}.mlp.dense_4h_to_h.weight", Role::DownProj, Hidden, Ffn),
    vector("transformer.h.{}.mlp.dense_4h_to_h.bias", Role::DownBias, Hidden),
    vector("transformer.ln_f.weight", Role::FinalNorm, Hidden),
    vector("transformer.ln_f.bias", Role::FinalNormBias, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr FixedKey kFixed[] = {{"apply_residual_connection_post_layernorm", "false"}};
constexpr std::string_view kInert[] = {"hidden_dropout",
                                       "masked_softmax_fusion",
                                       "bias_dropout_fusion",
                                       "offset_alibi",
                                       "skip_bias_add",
                                       "skip_bias_add_qkv",
                                       "attention_softmax_in_fp32",
                                       "slow_but_exact",
                                       "n_inner",
                                       "seq_length"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// BLOOM (arXiv:2211.05100).
extern const Family bloom{
    .model_type = "bloom",
    .architecture = "BloomForCausalLM",
    .tensors = tensors,
    .description = "BLOOM, BLOOMZ",
    .keys = {.hidden_size = "hidden_size|n_embed",
             .layers = "n_layer|num_hidden_layers",
             .heads = "n_head|num_attention_heads",
             .kv_heads = {},
             .head_dim = {},
             .ffn = {},
             .positions = "seq_length",
             .eps = "layer_norm_epsilon",
             .activation = {}},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .qkv_bias = {.value = true},
    .out_bias = {.value = true},
    .mlp_bias = {.value = true},
    .tied = {.value = true, .key = "tie_word_embeddings"},
    .norm = NormKind::Layer,
    .embedding_norm = true,
    .gated = false,
    .default_activation = Activation::GeluTanh,
    .positions = Positions::Alibi,
    .default_ffn_multiple = 4,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
