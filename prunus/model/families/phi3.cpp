#include "prunus/model/family.h"

namespace prunus::families {
namespace {

using namespace axes;
using namespace specs;

constexpr std::string_view kQkv = "model.layers.{}.self_attn.qkv_proj.weight";
constexpr std::string_view kGateUp = "model.layers.{}.mlp.gate_up_proj.weight";

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix(kQkv, Role::QProj, WholeQueryHeads, Hidden),
    matrix(kQkv, Role::KProj, WholeKeyHeads, Hidden),
    matrix(kQkv, Role::VProj, WholeKeyHeads, Hidden),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, WholeQueryHeads),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix(kGateUp, Role::GateProj, Ffn, Hidden),
    matrix(kGateUp, Role::UpProj, Ffn, Hidden),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr std::string_view kInert[] = {"embd_pdrop", "resid_pdrop"};

std::span<const TensorSpec> tensors() { return kTable; }

}  // namespace

// Phi-3 and Phi-3.5 mini and medium (arXiv:2404.14219), Phi-4. Heads are hidden_size / heads wide.
extern const Family phi3{
    .model_type = "phi3",
    .architecture = "Phi3ForCausalLM",
    .tensors = tensors,
    .description = "Phi-3, Phi-3.5, Phi-4",
    .keys = {.head_dim = {}},
    .inert_keys = kInert,
    .partial_rotary = true,
    .default_original_positions = 4096,
    .window = WindowRule::All,
    .default_max_position_embeddings = 4096,
    .default_rms_norm_eps = 1e-5,
};

}  // namespace prunus::families
