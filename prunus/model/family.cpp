#include "prunus/model/family.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "prunus/base/error.h"

namespace prunus {
namespace {

using namespace axes;

using namespace specs;

constexpr TensorSpec kLlamaTable[] = {
    matrix("model.embed_tokens.weight", Role::EmbedTokens, Vocab, Hidden),
    vector("model.layers.{}.input_layernorm.weight", Role::AttnNorm, Hidden),
    matrix("model.layers.{}.self_attn.q_proj.weight", Role::QProj, QueryHeads, Hidden),
    vector("model.layers.{}.self_attn.q_proj.bias", Role::QBias, QueryHeads),
    matrix("model.layers.{}.self_attn.k_proj.weight", Role::KProj, KeyHeads, Hidden),
    vector("model.layers.{}.self_attn.k_proj.bias", Role::KBias, KeyHeads),
    matrix("model.layers.{}.self_attn.v_proj.weight", Role::VProj, ValueHeads, Hidden),
    vector("model.layers.{}.self_attn.v_proj.bias", Role::VBias, ValueHeads),
    vector("model.layers.{}.self_attn.q_norm.weight", Role::QNorm, HeadChannels, When::QkNorm),
    vector("model.layers.{}.self_attn.k_norm.weight", Role::KNorm, HeadChannels, When::QkNorm),
    matrix("model.layers.{}.self_attn.o_proj.weight", Role::OProj, Hidden, MixedHeads),
    vector("model.layers.{}.self_attn.o_proj.bias", Role::OBias, Hidden),
    vector("model.layers.{}.post_attention_layernorm.weight", Role::MlpNorm, Hidden),
    matrix("model.layers.{}.mlp.gate_proj.weight", Role::GateProj, Ffn, Hidden),
    vector("model.layers.{}.mlp.gate_proj.bias", Role::GateBias, Ffn),
    matrix("model.layers.{}.mlp.up_proj.weight", Role::UpProj, Ffn, Hidden),
    vector("model.layers.{}.mlp.up_proj.bias", Role::UpBias, Ffn),
    matrix("model.layers.{}.mlp.down_proj.weight", Role::DownProj, Hidden, Ffn),
    vector("model.layers.{}.mlp.down_proj.bias", Role::DownBias, Hidden),
    vector("model.norm.weight", Role::FinalNorm, Hidden),
    matrix("lm_head.weight", Role::LmHead, Vocab, Hidden, When::Untied),
};

constexpr std::pair<Role, Role> kBiases[] = {
    {Role::QProj, Role::QBias},       {Role::KProj, Role::KBias},
    {Role::VProj, Role::VBias},       {Role::OProj, Role::OBias},
    {Role::GateProj, Role::GateBias}, {Role::UpProj, Role::UpBias},
    {Role::DownProj, Role::DownBias},
};

}  // namespace

std::span<const TensorSpec> llama_tensors() { return kLlamaTable; }

std::optional<SubLayer> sub_layer_of(Role role) {
  switch (role) {
    case Role::AttnNorm:
    case Role::AttnNormBias:
    case Role::PostAttnNorm:
    case Role::QProj:
    case Role::KProj:
    case Role::VProj:
    case Role::OProj:
    case Role::QBias:
    case Role::KBias:
    case Role::VBias:
    case Role::OBias:
    case Role::QNorm:
    case Role::KNorm:
      return SubLayer::Attention;
    case Role::MlpNorm:
    case Role::MlpNormBias:
    case Role::PostMlpNorm:
    case Role::GateProj:
    case Role::UpProj:
    case Role::DownProj:
    case Role::GateBias:
    case Role::UpBias:
    case Role::DownBias:
    case Role::Router:
    case Role::SharedGateProj:
    case Role::SharedUpProj:
    case Role::SharedDownProj:
    case Role::SharedRouter:
      return SubLayer::FeedForward;
    default:
      return std::nullopt;
  }
}

std::optional<Role> bias_of(Role projection) {
  for (const auto& [one, bias] : kBiases) {
    if (one == projection) return bias;
  }
  return std::nullopt;
}

std::optional<Role> projection_of(Role bias) {
  for (const auto& [projection, one] : kBiases) {
    if (one == bias) return projection;
  }
  return std::nullopt;
}

const TensorSpec& added_bias(const TensorSpec& projection) {
  struct Row {
    std::string name;
    TensorSpec spec;
  };
  static std::mutex mutex;
  static std::map<const TensorSpec*, std::unique_ptr<Row>> rows;
  constexpr std::string_view kWeight = "weight";
  const std::optional<Role> role = bias_of(projection.role);
  PRUNUS_CHECK(role && projection.name.ends_with(kWeight), InvalidArgument, "'", projection.name,
               "' has no bias beside it; expected the weight of a projection");
  const std::lock_guard lock(mutex);
  std::unique_ptr<Row>& row = rows[&projection];
  if (row == nullptr) {
    const std::string_view stem =
        projection.name.substr(0, projection.name.size() - kWeight.size());
    row = std::make_unique<Row>();
    row->name = std::string(stem) + "bias";
    row->spec = specs::vector(row->name, *role, projection.axes[0], projection.when);
    row->spec.interleave = projection.interleave;
  }
  return row->spec;
}

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
