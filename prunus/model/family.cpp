#include "prunus/model/family.h"

namespace prunus {
namespace {

using namespace axes;

using namespace specs;

constexpr TensorSpec kTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix("model.layers.{}.self_attn.q_proj.weight", Role::QProj, QueryHeads, Hidden),
    vector("model.layers.{}.self_attn.q_proj.bias", Role::QBias, QueryHeads, When::QkvBias),
    matrix("model.layers.{}.self_attn.k_proj.weight", Role::KProj, KeyHeads, Hidden),
    vector("model.layers.{}.self_attn.k_proj.bias", Role::KBias, KeyHeads, When::QkvBias),
    matrix("model.layers.{}.self_attn.v_proj.weight", Role::VProj, ValueHeads, Hidden),
    vector("model.layers.{}.self_attn.v_proj.bias", Role::VBias, ValueHeads, When::QkvBias),
    vector("model.layers.{}.self_attn.q_norm.weight", Role::QNorm, HeadChannels, When::QkNorm),
    vector("model.layers.{}.self_attn.k_norm.weight", Role::KNorm, HeadChannels, When::QkNorm),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, MixedHeads),
    vector("model.layers.{}.self_attn.o_proj.bias", Role::OBias, Hidden, When::OutBias),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix("model.layers.{}.mlp.gate_proj.weight", Role::GateProj, Ffn, Hidden),
    vector("model.layers.{}.mlp.gate_proj.bias", Role::GateBias, Ffn, When::MlpBias),
    matrix("model.layers.{}.mlp.up_proj.weight", Role::UpProj, Ffn, Hidden),
    vector("model.layers.{}.mlp.up_proj.bias", Role::UpBias, Ffn, When::MlpBias),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.layers.{}.mlp.down_proj.bias", Role::DownBias, Hidden, When::MlpBias),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

}  // namespace

std::span<const TensorSpec> llama_tensors() { return kTable; }

std::vector<const Family*> find_families(std::string_view model_type) {
  std::vector<const Family*> found;
  for (const Family* family : families::all()) {
    if (family->model_type == model_type) found.push_back(family);
  }
  return found;
}

const Family* find_family(std::string_view model_type) {
  const auto found = find_families(model_type);
  return found.empty() ? nullptr : found.front();
}

}  // namespace prunus
