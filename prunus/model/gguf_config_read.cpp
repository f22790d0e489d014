#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/io/quote.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/gguf_config_parts.h"

namespace prunus {
namespace {

const GgufTensor& required(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.find(name);
  PRUNUS_CHECK(tensor != nullptr, Corrupt, file.path(), ": has no tensor ", quote(name));
  return *tensor;
}

bool same_bytes(const GgufFile& file, const GgufTensor& one, const GgufTensor& other) {
  if (one.type != other.type || one.shape != other.shape) return false;
  constexpr int64_t kPiece = 1024;
  for (int64_t row = 0; row < one.rows(); row += kPiece) {
    const int64_t end = std::min(one.rows(), row + kPiece);
    const at::Tensor a = file.rows(one, row, end), b = file.rows(other, row, end);
    if (std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) != 0) return false;
  }
  return true;
}

// The sizes that each layer has.
struct Sizes {
  std::vector<int64_t> heads, kv_heads, ffn;
};

int64_t most(const std::vector<int64_t>& sizes) {
  return *std::max_element(sizes.begin(), sizes.end());
}

// A sub-layer that a layer lacks has the size 0.
void check_parts(const GgufKeys& keys, const GgufArchitecture& architecture, const Sizes& sizes,
                 size_t layer) {
  const int64_t heads = sizes.heads[layer], kv_heads = sizes.kv_heads[layer];
  const std::string where = c10::str(keys.file().path(), ": layer ", layer, " has ");
  PRUNUS_CHECK(heads == 0 || kv_heads > 0, Unsupported, where, heads, " query heads and ", kv_heads,
               " key/value heads: a matrix in the place of attention, which is not implemented");
  PRUNUS_CHECK(heads > 0 || kv_heads == 0, Corrupt, where, kv_heads,
               " key/value heads and no query heads");
  const bool whole = heads > 0 && sizes.ffn[layer] > 0;
  PRUNUS_CHECK(whole || architecture.limits.attention_free, Unsupported, where, heads,
               " query heads and ", sizes.ffn[layer], " feed-forward channels; the architecture ",
               architecture.name,
               " has no layers without attention or without a feed-forward part");
}

Sizes read_sizes(GgufKeys& keys, const GgufArchitecture& architecture, size_t layers) {
  Sizes sizes;
  sizes.heads = keys.by_layer("attention.head_count", layers, 0, kMaxSize);
  sizes.kv_heads = keys.by_layer("attention.head_count_kv", layers, 0, kMaxSize, &sizes.heads);
  sizes.ffn = keys.by_layer("feed_forward_length", layers, 0, kMaxSize);
  for (size_t i = 0; i < layers; ++i) check_parts(keys, architecture, sizes, i);
  PRUNUS_CHECK(most(sizes.heads) > 0 && most(sizes.ffn) > 0, Corrupt, keys.file().path(),
               ": no layer has ", most(sizes.heads) > 0 ? "a feed-forward part" : "attention");
  return sizes;
}

// The largest under the family's key, and the list where layers differ.
void write_size(Json& json, std::string_view key, const char* generic, const char* list,
                const std::vector<int64_t>& sizes) {
  const int64_t largest = most(sizes);
  json[key.empty() ? generic : first_name(key)] = largest;
  if (*std::min_element(sizes.begin(), sizes.end()) != largest) json[list] = sizes;
}

int64_t read_head_dim(GgufKeys& keys, const Family& family, int64_t hidden, int64_t heads,
                      Json& json) {
  const int64_t head_dim =
      keys.integer("attention.key_length", 1, kMaxSize, std::max<int64_t>(1, hidden / heads));
  PRUNUS_CHECK(keys.has("attention.key_length") || hidden % heads == 0, Corrupt, keys.file().path(),
               ": embedding_length ", hidden, " is not a multiple of ", heads, " heads and ",
               keys.place("attention.key_length"), " is not given");
  const int64_t value = keys.integer("attention.value_length", 1, kMaxSize, head_dim);
  PRUNUS_CHECK(value == head_dim, Unsupported, keys.place("attention.value_length"), " is ", value,
               " and that of keys ", head_dim, "; heads of two sizes are not implemented");
  keys.must_be("attention.key_length_swa", static_cast<double>(head_dim));
  keys.must_be("attention.value_length_swa", static_cast<double>(head_dim));
  const std::string_view key = family.keys.head_dim;
  if (!key.empty()) json[std::string(key)] = head_dim;
  if (key.empty() && head_dim * heads != hidden) json["head_dim"] = head_dim;
  return head_dim;
}

void read_experts(GgufKeys& keys, const GgufArchitecture& architecture, const Family& family,
                  int64_t ffn, Json& json) {
  keys.ignore({"expert_count", "expert_used_count"});
  if (!architecture.mixture) return;
  const int64_t experts = keys.integer("expert_count", 1, kMaxSize);
  const int64_t used = keys.integer("expert_used_count", 1, experts);
  keys.must_be("expert_gating_func", 1);  // softmax
  keys.must_be("expert_weights_norm", architecture.renormalised ? 1 : 0);
  keys.must_be("expert_group_count", 1);
  keys.must_be("expert_group_used_count", 1);
  const double scale = keys.positive("expert_weights_scale", 1.0, true);
  PRUNUS_CHECK(scale == 1.0, Unsupported, keys.place("expert_weights_scale"), " is ", scale,
               "; only 1 is implemented");
  json[first_name(family.keys.experts)] = experts;
  json["num_experts_per_tok"] = used;
  if (!family.renormalised_router.key.empty()) {
    json[std::string(family.renormalised_router.key)] = architecture.renormalised;
  }
  if (family.keys.expert_ffn.empty()) return;
  PRUNUS_CHECK(!json.contains("layer_intermediate_size"), Unsupported,
               keys.place("feed_forward_length"),
               " differs by layer; experts of different sizes are not implemented");
  json[std::string(family.keys.expert_ffn)] =
      keys.integer("expert_feed_forward_length", 1, kMaxSize, std::max<int64_t>(1, ffn / used));
  if (family.shared_ffn_key.empty()) return;
  json[std::string(family.shared_ffn_key)] =
      keys.integer("expert_shared_feed_forward_length", 1, kMaxSize, ffn);
}

// Where a cap is not 0, and where the family has none.
void read_cap(GgufKeys& keys, std::string_view name, std::string_view key, double fallback,
              Json& json) {
  if (key.empty()) return keys.must_be(name, 0);
  const double cap = keys.has(name) ? keys.positive(name, 0.0, true) : fallback;
  json[std::string(key)] = cap > 0 ? Json(cap) : Json();
}

void read_scores(GgufKeys& keys, const GgufArchitecture& architecture, const Family& family,
                 int64_t hidden, int64_t heads, int64_t layers, int64_t head_dim, Json& json) {
  if (!family.score_divisor_key.empty()) {
    const bool wide = architecture.layers_with_wide_scores == layers;
    json[std::string(family.score_divisor_key)] = wide ? hidden / heads : head_dim;
  }
  read_cap(keys, "attn_logit_softcapping", family.attention_softcap_key,
           family.default_attention_softcap, json);
  read_cap(keys, "final_logit_softcapping", family.logit_softcap_key, family.default_logit_softcap,
           json);
}

void read_norms(GgufKeys& keys, const Family& family, Json& json) {
  const bool layer_norm = family.norm == NormKind::Layer;
  json[first_name(family.keys.eps)] = keys.positive(
      layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon");
  const Switch& parallel = family.parallel_residual;
  if (!parallel.key.empty()) {
    json[std::string(parallel.key)] = keys.boolean("use_parallel_residual", parallel.value);
  }
}

// The head is the embedding where there is no other, or one with the same bytes.
void read_tied(const GgufFile& file, const Family& family, Json& json) {
  const GgufTensor* head = file.find("output.weight");
  const bool tied = head == nullptr || same_bytes(file, *head, required(file, "token_embd.weight"));
  if (!family.tied.key.empty()) json[std::string(family.tied.key)] = tied;
}

int64_t read_vocabulary(GgufKeys& keys) {
  const GgufTensor& embedding = required(keys.file(), "token_embd.weight");
  PRUNUS_CHECK(embedding.shape.size() == 2 && embedding.rows() > 0, Corrupt, keys.file().path(),
               ": tensor 'token_embd.weight' has shape ", c10::IntArrayRef(embedding.shape),
               ", expected a matrix");
  const int64_t named = keys.integer("vocab_size", 1, int64_t{1} << 31, embedding.rows());
  PRUNUS_CHECK(named == embedding.rows(), Corrupt, keys.place("vocab_size"), " is ", named,
               ", and 'token_embd.weight' has ", embedding.rows(), " rows");
  return named;
}

// Ids that end or begin a text, for programs that look for them in config.json.
void read_special_ids(const GgufFile& file, int64_t vocab_size, Json& json) {
  for (const auto& [key, name] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                  std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                  std::pair{"tokenizer.ggml.padding_token_id", "pad_token_id"}}) {
    const GgufValue* value = file.find_value(key);
    if (value == nullptr) continue;
    const int64_t id = value->integer();
    PRUNUS_CHECK(id >= 0 && id < vocab_size, Corrupt, file.path(), ": ", quote(key), " is ", id,
                 ", expected the id of one of ", vocab_size, " tokens");
    json[name] = id;
  }
}

// One name where all matrices have one type that checkpoints have too, else that of what is read.
const char* read_dtype(const GgufFile& file) {
  const auto all_are = [&](std::string_view type) {
    return std::all_of(file.tensors().begin(), file.tensors().end(), [&](const GgufTensor& one) {
      return one.shape.size() < 2 || one.type->name == type;
    });
  };
  return all_are("BF16") ? "bfloat16" : all_are("F16") ? "float16" : "float32";
}

// Biases are there where their tensors are.
std::set<Role> found_biases(const GgufFile& file, const GgufArchitecture& architecture) {
  std::set<Role> biases;
  for (const GgufName& row : architecture.names) {
    if (projection_of(row.role) && file.find(gguf_tensor_name(row, 0)) != nullptr) {
      biases.insert(row.role);
    }
  }
  return biases;
}

void check_file_kind(const GgufFile& file) {
  const GgufValue* kind = file.find_value("general.type");
  PRUNUS_CHECK(kind == nullptr || kind->text() == "model", Unsupported, file.path(),
               ": general.type is ", quote(kind == nullptr ? "" : kind->text()),
               ", expected 'model'");
  const GgufValue* parts = file.find_value("split.count");
  PRUNUS_CHECK(parts == nullptr || parts->integer() <= 1, Unsupported, file.path(),
               ": is one part of ", parts == nullptr ? 0 : parts->integer(),
               " of a split model; join them first (llama-gguf-split --merge)");
}

}  // namespace

const GgufArchitecture& gguf_architecture(const GgufFile& file) {
  check_file_kind(file);
  const GgufValue* named = file.find_value("general.architecture");
  PRUNUS_CHECK(named != nullptr, Corrupt, file.path(),
               ": metadata 'general.architecture' is missing");
  const std::string_view name = named->text();
  auto rows = gguf_architectures_named(name);
  PRUNUS_CHECK(!rows.empty(), Unsupported, file.path(), ": architecture ", quote(name),
               " is not supported; known: ", known_gguf_architectures());
  GgufKeys keys(file, name);
  const bool mixture = keys.integer("expert_count", 0, kMaxSize, 0) > 0;
  std::erase_if(rows, [&](const GgufArchitecture* row) { return row->mixture != mixture; });
  PRUNUS_CHECK(!rows.empty(), Unsupported, keys.place("expert_count"),
               mixture ? " is above 0" : " is 0", ", which is not supported for this architecture");
  if (rows.size() == 1) return *rows[0];
  const bool windows = keys.integer("attention.sliding_window", 0, kMaxPositions, 0) > 0;
  return *rows[rows[0]->windows == windows ? 0 : 1];
}

Json gguf_config(const GgufFile& file) {
  const GgufArchitecture& architecture = gguf_architecture(file);
  const Family* found = find_family(architecture.family);
  TORCH_INTERNAL_ASSERT(found != nullptr);
  const Family& family = *found;
  const ConfigKeys& names = family.keys;
  GgufKeys keys(file, architecture.name);
  Json json = {{"architectures", {family.architecture}}, {"model_type", family.model_type}};
  const int64_t vocab_size = read_vocabulary(keys);
  const int64_t layers = keys.integer("block_count", 1, kMaxLayers);
  const int64_t hidden = keys.integer("embedding_length", 1, kMaxSize);
  const Sizes sizes = read_sizes(keys, architecture, static_cast<size_t>(layers));
  const int64_t heads = most(sizes.heads);
  json[first_name(names.vocab_size)] = vocab_size;
  json[first_name(names.hidden_size)] = hidden;
  json[first_name(names.layers)] = layers;
  json[first_name(names.positions)] = keys.integer("context_length", 1, kMaxPositions);
  write_size(json, names.heads, "num_attention_heads", "layer_num_attention_heads", sizes.heads);
  if (!names.kv_heads.empty() || sizes.kv_heads != sizes.heads) {
    write_size(json, names.kv_heads, "num_key_value_heads", "layer_num_key_value_heads",
               sizes.kv_heads);
  }
  write_size(json, names.ffn, "intermediate_size", "layer_intermediate_size", sizes.ffn);
  const int64_t head_dim = read_head_dim(keys, family, hidden, heads, json);
  read_norms(keys, family, json);
  read_gguf_rope(keys, family, head_dim, json);
  read_gguf_windows(keys, family, static_cast<size_t>(layers), json);
  read_scores(keys, architecture, family, hidden, heads, layers, head_dim, json);
  read_experts(keys, architecture, family, sizes.ffn[0], json);
  read_tied(file, family, json);
  read_special_ids(file, vocab_size, json);
  json["torch_dtype"] = read_dtype(file);
  keys.must_be("attention.causal", 1);
  keys.must_be("attention.max_alibi_bias", 8);
  keys.must_be("attention.clamp_kqv", 0);
  keys.must_be("logit_scale", 1);
  keys.ignore({"tensor_data_layout", "pooling_type"});
  keys.check_all_known();
  ModelConfig config = parse_config(json, file.path());
  const std::set<Role> biases = found_biases(file, architecture);
  config.biases = biases;
  return rewrite_config(json, config);
}

}  // namespace prunus
