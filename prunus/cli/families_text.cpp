#include "prunus/cli/families_text.h"

#include <algorithm>
#include <set>
#include <vector>

#include <c10/util/StringUtil.h>

#include "prunus/model/family.h"

namespace prunus {
namespace {

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? "–" : text;
}

bool has(const Family& family, Role role) {
  const auto table = family.tensors();
  return std::any_of(table.begin(), table.end(),
                     [&](const TensorSpec& spec) { return spec.role == role; });
}

std::string positions_of(const Family& family) {
  if (family.positions == Positions::Alibi) return "ALiBi";
  if (family.positions == Positions::Learned) return "learned";
  std::string text = "RoPE";
  if (family.default_partial_rotary != 1.0) {
    text += c10::str(", ", 100 * family.default_partial_rotary, " % of a head");
  }
  if (family.interleaved_rope) text += ", neighbours";
  if (!family.local_rope_theta_key.empty()) text += ", own base in windows";
  return text;
}

std::string norms_of(const Family& family) {
  std::string text = family.norm == NormKind::Layer        ? "LayerNorm"
                     : family.norm == NormKind::RmsPlusOne ? "RMSNorm, 1 + w"
                                                           : "RMSNorm";
  const bool before = has(family, Role::AttnNorm);
  const bool behind = has(family, Role::PostAttnNorm);
  if (behind) text += before ? "; before and behind each part" : "; behind each part";
  if (!family.pre_norm.key.empty()) text += "; or behind the sums";
  if (family.embedding_norm) text += "; of the embedding";
  return text;
}

std::string attention_of(const Family& family) {
  std::vector<std::string> parts;
  if (has(family, Role::QBias) && (family.qkv_bias.value || !family.qkv_bias.key.empty())) {
    parts.push_back(family.qkv_bias.key.empty() ? "q, k, v biases" : "q, k, v biases by config");
  }
  if (family.qk_norm.value) {
    parts.push_back(family.qk_norm_rows ? "norm over q and k rows" : "norm over each head");
  }
  if (family.window != WindowRule::None) parts.push_back("window");
  if (!family.attention_softcap_key.empty()) parts.push_back("soft cap");
  if (family.parallel_residual.value || !family.parallel_residual.key.empty()) {
    parts.push_back("beside the feed-forward part");
  }
  return joined(parts);
}

std::string feed_forward_of(const Family& family) {
  std::string text = family.gated ? "gated" : "plain";
  if (family.mixture) text = "mixture of experts, gated";
  if (!family.shared_ffn_key.empty()) text += ", shared expert";
  return text;
}

std::string ends_of(const Family& family) {
  std::vector<std::string> parts;
  if (family.embedding_scale) parts.push_back("scaled embedding");
  if (family.tied.value) parts.push_back("tied");
  if (family.normalised_head) parts.push_back("normalised head");
  if (!family.logit_softcap_key.empty()) parts.push_back("soft cap");
  return joined(parts);
}

std::string fused_of(const Family& family) {
  std::multiset<std::string_view> names;
  const auto table = family.tensors();
  for (const TensorSpec& spec : table) names.insert(spec.name);
  std::vector<std::string> parts;
  std::set<std::string> seen;
  for (const TensorSpec& spec : table) {
    if (spec.rank == 2 && names.count(spec.name) > 1) {
      std::string name(spec.name.substr(0, spec.name.rfind('.')));
      name = name.substr(name.rfind('.') + 1);
      if (seen.insert(name).second) parts.push_back("`" + name + "`");
    }
  }
  if (std::any_of(table.begin(), table.end(),
                  [](const TensorSpec& spec) { return spec.transposed; })) {
    parts.push_back("[in, out]");
  }
  return joined(parts);
}

std::string cuts_of(const Family& family) {
  std::vector<std::string> labels;
  for (const Cut& cut : kCuts) {
    if (cut.label == AxisLabel::Vocab) continue;
    bool found = false;
    bool forbidden = false;
    for (const TensorSpec& spec : family.tensors()) {
      for (int dim = 0; dim < spec.rank; ++dim) {
        const auto& factors = spec.axes[static_cast<size_t>(dim)].factors;
        const bool here = std::find(factors.begin(), factors.end(), cut.unit) != factors.end();
        found = found || here;
        const bool norm = spec.role == Role::QNorm || spec.role == Role::KNorm;
        forbidden = forbidden ||
                    (here && norm && cut.label == AxisLabel::RopePair && (family.qk_norm.value));
      }
    }
    // Values lose channels only together with queries and keys.
    const bool pair = cut.label == AxisLabel::RopePair || cut.label == AxisLabel::ValueDim;
    if (pair && (family.qk_norm.value || family.positions != Positions::Rope)) continue;
    if (found && !forbidden) labels.push_back("`" + std::string(axis_name(cut.label)) + "`");
  }
  return joined(labels);
}

// What full training changes besides embedding, projections, head and the gains of norms.
std::string trained_too(const Family& family) {
  std::vector<std::string> parts;
  const auto add = [&](Role role, const char* what) {
    if (has(family, role)) parts.push_back(what);
  };
  add(Role::EmbedPositions, "positions");
  add(Role::EmbedNorm, "norm of the embedding");
  const auto can_be = [](const Switch& one) { return one.value || !one.key.empty(); };
  if (can_be(family.qkv_bias) || can_be(family.out_bias) || can_be(family.mlp_bias)) {
    parts.push_back("biases");
  }
  add(Role::AttnNormBias, "biases of norms");
  if (can_be(family.qk_norm)) parts.push_back("norms of q and k");
  add(Role::Router, "router");
  add(Role::SharedRouter, "router of the shared expert");
  return parts.empty() ? "yes" : "yes; " + joined(parts) + " too";
}

std::string training_remarks(const Family& family) {
  std::vector<std::string> parts;
  if (family.mixture) parts.push_back("every expert runs on every token; no balancing term");
  if (family.positions == Positions::Alibi) parts.push_back("ALiBi has no weights");
  if (family.parallel_residual.value) parts.push_back("both parts of a layer read its input");
  return joined(parts);
}

std::string training_section() {
  std::string text =
      "\n## What can be trained\n\n"
      "By `prunus recover`, with a teacher or without, and `prunus train` "
      "([recover.md](recover.md)).\n"
      "Whatever has a place in the family's file has a gradient.\n\n"
      "| `model_type` | models | adapters | all weights (`--full`) | `--sub-block` | from scratch "
      "| remarks |\n|---|---|---|---|---|---|---|\n";
  for (const Family* family : families::all()) {
    text += c10::str("| `", family->model_type, "` | ", family->description, " | ",
                     family->mixture ? "all but experts" : "yes", " | ", trained_too(*family),
                     " | yes | yes | ", training_remarks(*family), " |\n");
  }
  return text +
         "\nAdapters of a mixture stand on the attention, dense layers and the shared expert: an "
         "expert is\n"
         "trained joined with the others of its layer, while an adapter belongs to one tensor of "
         "the "
         "file.\n"
         "PEFT 0.21 takes `gate_proj`, `up_proj` and `down_proj` of a `qwen3_moe` for those of the "
         "experts, so\n"
         "an adapter on its dense layers (`decoder_sparse_step`, `mlp_only_layers`) is for `prunus "
         "merge` alone;\n"
         "with `--lora-targets q_proj,k_proj,v_proj,o_proj` PEFT reads it.\n"
         "`--sub-block` leaves the norms of q and k as they are.\n";
}

}  // namespace

std::string families_page() {
  std::string page =
      "# Model families\n\n"
      "Made by `prunus families > docs/families.md` from the tables in prunus/model/families/, "
      "one\n"
      "file each; a test compares them. Layers can be dropped in every family. How a table is\n"
      "written: [design.md](design.md), section 2.1.\n\n"
      "| `model_type` | models | positions | norms | attention | feed-forward | ends | fused in "
      "the "
      "file | what can be cut |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const Family* family : families::all()) {
    page += c10::str("| `", family->model_type, "` | ", family->description, " | ",
                     positions_of(*family), " | ", norms_of(*family), " | ", attention_of(*family),
                     " | ", feed_forward_of(*family), " | ", ends_of(*family), " | ",
                     fused_of(*family), " | ", cuts_of(*family), " |\n");
  }
  page +=
      "\nA cut that the family's own keys cannot describe is written under a `model_type` with "
      "the\n"
      "prefix `prunus_`, which only Prunus reads, so that no other loader computes something "
      "else:\n"
      "heads of a family without a key for their width where they no longer fill the hidden size;\n"
      "channels of heads (their rotary frequencies); heads under ALiBi (their slopes); hidden\n"
      "channels where the embedding is scaled by the root of their number; BLOOM's feed-forward\n"
      "width; biases that were added where the family has no key for them. Layers of different\n"
      "sizes are lists that only Prunus reads as well ([formats/config.md](formats/config.md)).\n";
  return page + training_section();
}

}  // namespace prunus
