#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr std::string_view kQkv =
    "transformer.encoder.layers.{}.self_attention.query_key_value.weight";
constexpr std::string_view kQkvBias =
    "transformer.encoder.layers.{}.self_attention.query_key_value.bias";
constexpr std::string_view kGateUp = "transformer.encoder.layers.{}.mlp.dense_h_to_4h.weight";

constexpr TensorSpec kTable[] = {
    matrix("transformer.embedding.word_embeddings.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("transformer.encoder.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix(kQkv, Role::QProj, WholeQueryHeads, Hidden),
    matrix(kQkv, Role::KProj, WholeKeyHeads, Hidden),
    matrix(kQkv, Role::VProj, WholeKeyHeads, Hidden),
    vector(kQkvBias, Role::QBias, WholeQueryHeads),
    vector(kQkvBias, Role::KBias, WholeKeyHeads),
    vector(kQkvBias, Role::VBias, WholeKeyHeads),
    matrix("transformer.encoder.layers.{}.self_attention.dense.weight", Role::OProj, Hidden,
           WholeQueryHeads),
    vector("transformer.encoder.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix(kGateUp, Role::GateProj, Ffn, Hidden),
    matrix(kGateUp, Role::UpProj, Ffn, Hidden),
    matrix("transformer.encoder.layers.{}.mlp.dense_4h_to_h.weight", Role::DownProj, Hidden, Ffn),
    vector("transformer.encoder.final_layernorm.weight", Role::FinalNorm, Hidden),
    matrix("transformer.output_layer.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr FixedKey kFixed[] = {{"multi_query_attention", "true"},
                               {"add_bias_linear", "false"},
                               {"rmsnorm", "true"},
                               {"post_layer_norm", "true"},
                               {"apply_residual_connection_post_layernorm", "false"},
                               {"original_rope", "true"},
                               {"pre_seq_len", "null"}};
constexpr std::string_view kInert[] = {"attention_softmax_in_fp32",
                                       "apply_query_key_layer_scaling",
                                       "fp32_residual_connection",
                                       "bias_dropout_fusion",
                                       "hidden_dropout",
                                       "classifier_dropout",
                                       "quantization_bit",
                                       "prefix_projection",
                                       "auto_map",
                                       "interleaved_qkv",
                                       "vocab_size"};

constexpr std::string_view kBuffers[] = {"rotary_pos_emb.inv_freq"};
constexpr std::string_view kArchitectures[] = {"ChatGLMForConditionalGeneration"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// ChatGLM2, ChatGLM3 and GLM-4 as THUDM published them: half of every head is rotated, in pairs of
// neighbours.
extern const Family chatglm{
    .model_type = "chatglm",
    .architecture = "ChatGLMModel",
    .tensors = tensors,
    .description = "ChatGLM2-6B, ChatGLM3-6B, GLM-4-9B",
    .other_architectures = kArchitectures,
    .keys = {.vocab_size = "padded_vocab_size",
             .layers = "num_layers|num_hidden_layers",
             .kv_heads = "multi_query_group_num",
             .head_dim = "kv_channels",
             .ffn = "ffn_hidden_size",
             .positions = "seq_length",
             .eps = "layernorm_epsilon",
             .activation = {},
             .partial_rotary = {}},
    .fixed_keys = kFixed,
    .inert_keys = kInert,
    .derived_buffers = kBuffers,
    .qkv_bias = {.value = false, .key = "add_qkv_bias"},
    .partial_rotary = true,
    .default_partial_rotary = 0.5,
    .interleaved_rope = true,
    .rope_ratio_key = "rope_ratio",
    .default_kv_heads = 1,
    .default_head_dim = 128,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
