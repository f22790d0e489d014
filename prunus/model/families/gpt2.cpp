#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr std::string_view kQkv = "transformer.h.{}.attn.c_attn.weight";
constexpr std::string_view kQkvBias = "transformer.h.{}.attn.c_attn.bias";

// Its "Conv1D" holds [in, out].
constexpr TensorSpec kTable[] = {
    matrix("transformer.wte.weight", Role::EmbedTokens, Vocab, Hidden),
    matrix("transformer.wpe.weight", Role::EmbedPositions, axes::Position, Hidden),
    vector("transformer.h.{}.ln_1.weight", Role::AttnNorm, Hidden),
    vector("transformer.h.{}.ln_1.bias", Role::AttnNormBias, Hidden),
    transposed(matrix(kQkv, Role::QProj, WholeQueryHeads, Hidden)),
    transposed(matrix(kQkv, Role::KProj, WholeKeyHeads, Hidden)),
    transposed(matrix(kQkv, Role::VProj, WholeKeyHeads, Hidden)),
    vector(kQkvBias, Role::QBias, WholeQueryHeads),
    vector(kQkvBias, Role::KBias, WholeKeyHeads),
    vector(kQkvBias, Role::VBias, WholeKeyHeads),
    transposed(matrix("transformer.h.{}.attn.c_proj.weight", Role::OProj, Hidden, WholeQueryHeads)),
    vector("transformer.h.{}.attn.c_proj.bias", Role::OBias, Hidden),
    vector("transformer.h.{}.ln_2.weight", Role::MlpNorm, Hidden),
    vector("transformer.h.{}.ln_2.bias", Role::MlpNormBias, Hidden),
    transposed(matrix("transformer.h.{}.mlp.c_fc.weight", Role::UpProj, Ffn, Hidden)),
    vector("transformer.h.{}.mlp.c_fc.bias", Role::UpBias, Ffn),
    transposed(matrix("transformer.h.{}.mlp.c_proj.weight", Role::DownProj, Hidden, Ffn)),
    vector("transformer.h.{}.mlp.c_proj.bias", Role::DownBias, Hidden),
    vector("transformer.ln_f.weight", Role::FinalNorm, Hidden),
    vector("transformer.ln_f.bias", Role::FinalNormBias, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr FixedKey kFixed[] = {{"scale_attn_weights", "true"},
                               {"scale_attn_by_inverse_layer_idx", "false"},
                               {"add_cross_attention", "false"}};
constexpr std::string_view kInert[] = {"n_ctx",
                                       "embd_pdrop",
                                       "attn_pdrop",
                                       "resid_pdrop",
                                       "summary_type",
                                       "summary_use_proj",
                                       "summary_activation",
                                       "summary_proj_to_labels",
                                       "summary_first_dropout",
                                       "reorder_and_upcast_attn"};
constexpr std::string_view kBuffers[] = {".attn.bias", ".attn.masked_bias"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// GPT-2 (Radford et al., 2019).
extern const Family gpt2{
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .tensors = tensors,
    .description = "GPT-2, DistilGPT2",
    .keys = {.hidden_size = "n_embd|hidden_size",
             .layers = "n_layer|num_hidden_layers",
             .heads = "n_head|num_attention_heads",
             .kv_heads = {},
             .head_dim = {},
             .ffn = "n_inner",
             .positions = "n_positions|max_position_embeddings",
             .eps = "layer_norm_epsilon",
             .activation = "activation_function"},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .derived_buffers = kBuffers,
    .qkv_bias = {.value = true},
    .out_bias = {.value = true},
    .mlp_bias = {.value = true},
    .tied = {.value = true, .key = "tie_word_embeddings"},
    .norm = NormKind::Layer,
    .gated = false,
    .default_activation = Activation::GeluTanh,
    .positions = Positions::Learned,
    .default_ffn_multiple = 4,
    .default_max_position_embeddings = 1024,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
