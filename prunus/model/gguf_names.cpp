#include "prunus/model/gguf_names.h"

#include <algorithm>
#include <set>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr GgufForm kPairs = GgufForm::RotaryPairs;
constexpr GgufForm kPlus = GgufForm::OnePlus;
constexpr GgufForm kStacked = GgufForm::Stacked;

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kOutput = "output.weight";
constexpr std::string_view kOutputNorm = "output_norm.weight";
constexpr std::string_view kAttnNorm = "blk.{}.attn_norm.weight";
constexpr std::string_view kQ = "blk.{}.attn_q.weight";
constexpr std::string_view kK = "blk.{}.attn_k.weight";
constexpr std::string_view kV = "blk.{}.attn_v.weight";
constexpr std::string_view kQkv = "blk.{}.attn_qkv.weight";
constexpr std::string_view kQBias = "blk.{}.attn_q.bias";
constexpr std::string_view kKBias = "blk.{}.attn_k.bias";
constexpr std::string_view kVBias = "blk.{}.attn_v.bias";
constexpr std::string_view kQkvBias = "blk.{}.attn_qkv.bias";
constexpr std::string_view kQNorm = "blk.{}.attn_q_norm.weight";
constexpr std::string_view kKNorm = "blk.{}.attn_k_norm.weight";
constexpr std::string_view kO = "blk.{}.attn_output.weight";
constexpr std::string_view kOBias = "blk.{}.attn_output.bias";
constexpr std::string_view kPostAttnNorm = "blk.{}.post_attention_norm.weight";
constexpr std::string_view kFfnNorm = "blk.{}.ffn_norm.weight";
constexpr std::string_view kPostFfnNorm = "blk.{}.post_ffw_norm.weight";
constexpr std::string_view kGate = "blk.{}.ffn_gate.weight";
constexpr std::string_view kUp = "blk.{}.ffn_up.weight";
constexpr std::string_view kDown = "blk.{}.ffn_down.weight";
constexpr std::string_view kGateBias = "blk.{}.ffn_gate.bias";
constexpr std::string_view kUpBias = "blk.{}.ffn_up.bias";
constexpr std::string_view kDownBias = "blk.{}.ffn_down.bias";
constexpr std::string_view kRouter = "blk.{}.ffn_gate_inp.weight";
constexpr std::string_view kGates = "blk.{}.ffn_gate_exps.weight";
constexpr std::string_view kUps = "blk.{}.ffn_up_exps.weight";
constexpr std::string_view kDowns = "blk.{}.ffn_down_exps.weight";

constexpr GgufName kLlama[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ, kPairs},
    {Role::QBias, kQBias, kPairs},
    {Role::KProj, kK, kPairs},
    {Role::KBias, kKBias, kPairs},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::OProj, kO},
    {Role::OBias, kOBias},
    {Role::MlpNorm, kFfnNorm},
    {Role::GateProj, kGate},
    {Role::GateBias, kGateBias},
    {Role::UpProj, kUp},
    {Role::UpBias, kUpBias},
    {Role::DownProj, kDown},
    {Role::DownBias, kDownBias},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kMixtral[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ, kPairs},
    {Role::QBias, kQBias, kPairs},
    {Role::KProj, kK, kPairs},
    {Role::KBias, kKBias, kPairs},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::OProj, kO},
    {Role::OBias, kOBias},
    {Role::MlpNorm, kFfnNorm},
    {Role::Router, kRouter},
    {Role::GateProj, kGates, kStacked},
    {Role::UpProj, kUps, kStacked},
    {Role::DownProj, kDowns, kStacked},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kQwen2[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ},
    {Role::QBias, kQBias},
    {Role::KProj, kK},
    {Role::KBias, kKBias},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kQwen2Moe[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ},
    {Role::QBias, kQBias},
    {Role::KProj, kK},
    {Role::KBias, kKBias},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm},
    {Role::Router, kRouter},
    {Role::GateProj, kGates, kStacked},
    {Role::UpProj, kUps, kStacked},
    {Role::DownProj, kDowns, kStacked},
    {Role::SharedRouter, "blk.{}.ffn_gate_inp_shexp.weight", GgufForm::Row},
    {Role::SharedGateProj, "blk.{}.ffn_gate_shexp.weight"},
    {Role::SharedUpProj, "blk.{}.ffn_up_shexp.weight"},
    {Role::SharedDownProj, "blk.{}.ffn_down_shexp.weight"},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kQwen3[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ},
    {Role::QBias, kQBias},
    {Role::KProj, kK},
    {Role::KBias, kKBias},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::QNorm, kQNorm},
    {Role::KNorm, kKNorm},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kQwen3Moe[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ},
    {Role::QBias, kQBias},
    {Role::KProj, kK},
    {Role::KBias, kKBias},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::QNorm, kQNorm},
    {Role::KNorm, kKNorm},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm},
    {Role::Router, kRouter},
    {Role::GateProj, kGates, kStacked},
    {Role::UpProj, kUps, kStacked},
    {Role::DownProj, kDowns, kStacked},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kOpenelm[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQkv},
    {Role::KProj, kQkv},
    {Role::VProj, kQkv},
    {Role::QNorm, kQNorm},
    {Role::KNorm, kKNorm},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::FinalNorm, kOutputNorm},
};

constexpr GgufName kGemma[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm, kPlus},
    {Role::QProj, kQ},
    {Role::KProj, kK},
    {Role::VProj, kV},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm, kPlus},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::FinalNorm, kOutputNorm, kPlus},
};

constexpr GgufName kGemma2[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm, kPlus},
    {Role::QProj, kQ},
    {Role::KProj, kK},
    {Role::VProj, kV},
    {Role::OProj, kO},
    {Role::PostAttnNorm, kPostAttnNorm, kPlus},
    {Role::MlpNorm, kFfnNorm, kPlus},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::PostMlpNorm, kPostFfnNorm, kPlus},
    {Role::FinalNorm, kOutputNorm, kPlus},
};

constexpr GgufName kGemma3[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm, kPlus},
    {Role::QProj, kQ},
    {Role::KProj, kK},
    {Role::VProj, kV},
    {Role::QNorm, kQNorm, kPlus},
    {Role::KNorm, kKNorm, kPlus},
    {Role::OProj, kO},
    {Role::PostAttnNorm, kPostAttnNorm, kPlus},
    {Role::MlpNorm, kFfnNorm, kPlus},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::PostMlpNorm, kPostFfnNorm, kPlus},
    {Role::FinalNorm, kOutputNorm, kPlus},
    {Role::LmHead, kOutput},
};

constexpr GgufName kPhi3[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQkv},
    {Role::KProj, kQkv},
    {Role::VProj, kQkv},
    {Role::OProj, kO},
    {Role::MlpNorm, kFfnNorm},
    {Role::GateProj, kUp},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kGlm4[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::AttnNorm, kAttnNorm},
    {Role::QProj, kQ},
    {Role::QBias, kQBias},
    {Role::KProj, kK},
    {Role::KBias, kKBias},
    {Role::VProj, kV},
    {Role::VBias, kVBias},
    {Role::OProj, kO},
    {Role::PostAttnNorm, kPostAttnNorm},
    {Role::MlpNorm, kFfnNorm},
    {Role::GateProj, kUp},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::PostMlpNorm, kPostFfnNorm},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

constexpr GgufName kOlmo2[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::QProj, kQ},
    {Role::KProj, kK},
    {Role::VProj, kV},
    {Role::QNorm, kQNorm},
    {Role::KNorm, kKNorm},
    {Role::OProj, kO},
    {Role::PostAttnNorm, kPostAttnNorm},
    {Role::GateProj, kGate},
    {Role::UpProj, kUp},
    {Role::DownProj, kDown},
    {Role::PostMlpNorm, kPostFfnNorm},
    {Role::FinalNorm, kOutputNorm},
    {Role::LmHead, kOutput},
};

// GPT-2, GPT-NeoX and BLOOM: a bias everywhere.
constexpr GgufName kGpt[] = {
    {Role::EmbedTokens, kEmbedding},
    {Role::EmbedPositions, "position_embd.weight"},
    {Role::EmbedNorm, "token_embd_norm.weight"},
    {Role::EmbedNormBias, "token_embd_norm.bias"},
    {Role::AttnNorm, kAttnNorm},
    {Role::AttnNormBias, "blk.{}.attn_norm.bias"},
    {Role::QProj, kQkv},
    {Role::KProj, kQkv},
    {Role::VProj, kQkv},
    {Role::QBias, kQkvBias},
    {Role::KBias, kQkvBias},
    {Role::VBias, kQkvBias},
    {Role::OProj, kO},
    {Role::OBias, kOBias},
    {Role::MlpNorm, kFfnNorm},
    {Role::MlpNormBias, "blk.{}.ffn_norm.bias"},
    {Role::UpProj, kUp},
    {Role::UpBias, kUpBias},
    {Role::DownProj, kDown},
    {Role::DownBias, kDownBias},
    {Role::FinalNorm, kOutputNorm},
    {Role::FinalNormBias, "output_norm.bias"},
    {Role::LmHead, kOutput},
};

constexpr GgufLimits kSquare{.square_heads = true};
constexpr GgufLimits kLlamaLimits{.one_factor_list = true, .two_factor_lists = true};
constexpr GgufLimits kDeciLimits{.sizes_by_layer = true,
                                 .attention_free = true,
                                 .one_factor_list = true,
                                 .two_factor_lists = true};

constexpr GgufArchitecture kArchitectures[] = {
    {.name = "llama", .family = "llama", .names = kLlama, .limits = kLlamaLimits},
    {.name = "llama",
     .family = "mistral",
     .names = kLlama,
     .windows = true,
     .limits = kLlamaLimits},
    {.name = "llama",
     .family = "mixtral",
     .names = kMixtral,
     .mixture = true,
     .renormalised = true,
     .limits = kLlamaLimits},
    {.name = "deci", .family = "llama", .names = kLlama, .limits = kDeciLimits},
    {.name = "deci", .family = "mistral", .names = kLlama, .windows = true, .limits = kDeciLimits},
    {.name = "qwen2", .family = "qwen2", .names = kQwen2, .limits = kSquare},
    {.name = "qwen2moe",
     .family = "qwen2_moe",
     .names = kQwen2Moe,
     .mixture = true,
     .limits = {.square_heads = true, .needs_output = true}},
    {.name = "qwen3", .family = "qwen3", .names = kQwen3},
    {.name = "qwen3moe",
     .family = "qwen3_moe",
     .names = kQwen3Moe,
     .mixture = true,
     .renormalised = true},
    {.name = "openelm",
     .family = "qwen3",
     .names = kOpenelm,
     .limits = {.sizes_by_layer = true, .untied = false}},
    {.name = "gemma", .family = "gemma", .names = kGemma, .limits = {.untied = false}},
    {.name = "gemma2",
     .family = "gemma2",
     .names = kGemma2,
     .limits = {.untied = false},
     .layers_with_wide_scores = 46},
    {.name = "gemma3", .family = "gemma3_text", .names = kGemma3, .layers_with_wide_scores = 62},
    {.name = "phi3",
     .family = "phi3",
     .names = kPhi3,
     .limits = {.square_heads = true, .two_factor_lists = true}},
    {.name = "glm4", .family = "glm4", .names = kGlm4},
    {.name = "olmo2",
     .family = "olmo2",
     .names = kOlmo2,
     .limits = {.square_heads = true, .needs_output = true}},
    {.name = "gpt2", .family = "gpt2", .names = kGpt, .limits = kSquare},
    {.name = "gptneox",
     .family = "gpt_neox",
     .names = kGpt,
     .limits = {.square_heads = true, .needs_output = true}},
    {.name = "bloom", .family = "bloom", .names = kGpt, .limits = kSquare},
};

// The experts' matrices stand below each other, or beside each other.
bool experts_in_rows(const TensorSpec& spec) { return spec.axes[0].factors[0] == Factor::Expert; }

}  // namespace

std::span<const GgufArchitecture> gguf_architectures() { return kArchitectures; }

std::vector<const GgufArchitecture*> gguf_architectures_named(std::string_view name) {
  std::vector<const GgufArchitecture*> found;
  for (const GgufArchitecture& row : kArchitectures) {
    if (row.name == name) found.push_back(&row);
  }
  return found;
}

std::vector<const GgufArchitecture*> gguf_architectures_of(const Family& family) {
  std::vector<const GgufArchitecture*> found;
  for (const GgufArchitecture& row : kArchitectures) {
    if (row.family == family.model_type) found.push_back(&row);
  }
  return found;
}

std::string known_gguf_architectures() {
  std::set<std::string_view> names;
  for (const GgufArchitecture& row : kArchitectures) names.insert(row.name);
  std::string known;
  for (const std::string_view name : names) known += c10::str(known.empty() ? "" : ", ", name);
  return known;
}

const GgufName* gguf_name(const GgufArchitecture& architecture, Role role) {
  const auto found = std::find_if(architecture.names.begin(), architecture.names.end(),
                                  [&](const GgufName& row) { return row.role == role; });
  return found == architecture.names.end() ? nullptr : &*found;
}

std::vector<const GgufName*> gguf_parts(const GgufArchitecture& architecture,
                                        const GgufName& name) {
  std::vector<const GgufName*> parts;
  for (const GgufName& row : architecture.names) {
    if (row.name == name.name) parts.push_back(&row);
  }
  return parts;
}

std::string gguf_tensor_name(const GgufName& name, int layer) {
  std::string text(name.name);
  if (const auto at = text.find("{}"); at != std::string::npos) {
    text.replace(at, 2, std::to_string(layer));
  }
  return text;
}

at::Tensor to_gguf_form(const at::Tensor& weight, GgufForm form, const TensorSpec& spec,
                        int64_t head_dim, int64_t experts) {
  switch (form) {
    case GgufForm::Same:
      return weight.contiguous();
    case GgufForm::RotaryPairs:
      return weight.unflatten(0, {-1, 2, head_dim / 2}).transpose(1, 2).flatten(0, 2).contiguous();
    case GgufForm::OnePlus:
      return weight.to(at::kFloat) + 1;
    case GgufForm::Stacked:
      if (experts_in_rows(spec)) return weight.unflatten(0, {experts, -1}).contiguous();
      return weight.unflatten(1, {experts, -1}).transpose(0, 1).contiguous();
    case GgufForm::Row:
      return weight.squeeze(0).contiguous();
  }
  return weight;
}

at::Tensor from_gguf_form(const at::Tensor& stored, GgufForm form, const TensorSpec& spec,
                          int64_t head_dim, int64_t experts) {
  switch (form) {
    case GgufForm::Same:
      return stored.contiguous();
    case GgufForm::RotaryPairs:
      return stored.unflatten(0, {-1, head_dim / 2, 2}).transpose(1, 2).flatten(0, 2).contiguous();
    case GgufForm::OnePlus:
      return stored.to(at::kFloat) - 1;
    case GgufForm::Stacked:
      TORCH_INTERNAL_ASSERT(stored.size(0) == experts);
      if (experts_in_rows(spec)) return stored.flatten(0, 1).contiguous();
      return stored.transpose(0, 1).flatten(1, 2).contiguous();
    case GgufForm::Row:
      return stored.unsqueeze(0).contiguous();
  }
  return stored;
}

}  // namespace prunus
