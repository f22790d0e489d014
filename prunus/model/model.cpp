#include "prunus/model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/io/hf_directory.h"
#include "prunus/model/gguf_source.h"
#include "prunus/model/layout.h"
#include "prunus/model/text_part.h"

namespace prunus {
namespace {

int64_t axis_size(const ModelConfig& config, int layer, Axis axis) {
  int64_t size = 1;
  for (const Factor factor : axis.factors) size *= factor_size(config, layer, factor);
  return size;
}

// place_in_files() completes it.
TensorInfo place(const ModelConfig& config, const TensorSpec& spec, int layer) {
  TensorInfo info{.name = std::string(spec.name), .spec = &spec, .layer = layer, .shape = {}};
  if (const auto at = info.name.find("{}"); at != std::string::npos) {
    info.name.replace(at, 2, std::to_string(layer));
  }
  for (int i = 0; i < spec.rank; ++i) info.shape.push_back(axis_size(config, layer, spec.axes[i]));
  if (spec.interleave != Factor::None) {
    info.stored.groups = factor_size(config, layer, spec.interleave);
  }
  if (layer >= 0) info.stored.experts = config.layers[static_cast<size_t>(layer)].experts;
  return info;
}

bool in_layers(const TensorSpec& spec) { return spec.name.find("{}") != std::string_view::npos; }

std::string shape_text(c10::IntArrayRef shape) { return c10::str(shape); }

// Buffers that old exports store and every loader recomputes.
bool is_derived_buffer(const Family& family, const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") ||
         std::any_of(family.derived_buffers.begin(), family.derived_buffers.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

std::string name_of(const Family& family, Role role) {
  for (const TensorSpec& spec : family.tensors()) {
    if (spec.role == role) return std::string(spec.name);
  }
  return {};
}

// The row of a bias that the model has and its family's table lacks, or null. Experts have none.
const TensorSpec* missing_bias(const ModelConfig& config, const TensorSpec& spec) {
  const std::optional<Role> bias = bias_of(spec.role);
  if (!bias || !config.biases.contains(*bias)) return nullptr;
  const bool expert = spec.name.find("{e}") != std::string_view::npos;
  return expert || !name_of(*config.family, *bias).empty() ? nullptr : &added_bias(spec);
}

// The shape of a tensor of the model in the checkpoint.
std::vector<int64_t> stored_shape(const CheckpointSource& source, const Model& model,
                                  const std::string& table_name) {
  const Family& family = *model.config().family;
  const std::string name = source.name_in_file(table_name);
  const Checkpoint& checkpoint = source.checkpoint();
  PRUNUS_CHECK(source.stored().contains(name) || table_name != name_of(family, Role::LmHead),
               NotFound, checkpoint.dir(), ": no tensor '", name, "', and ", family.tied.key,
               " of config.json, which is ", family.tied.value ? "true" : "false", " in a ",
               family.model_type,
               " model without the key, is false. If the model's head is its "
               "embedding, add \"",
               family.tied.key,
               "\": true to config.json; a model saved "
               "without its head cannot be used");
  return source.stored().shape(name);
}

void check_tensors(const CheckpointSource& source, const Model& model) {
  const Checkpoint& checkpoint = source.checkpoint();
  const Family& family = *model.config().family;
  std::set<std::string> known;
  for (const FileTensor& tensor : file_tensors(model.tensors())) {
    const std::string name = source.name_in_file(tensor.name);
    known.insert(name);
    for (std::string& other : source.stored().beside(name)) known.insert(std::move(other));
    const std::vector<int64_t> shape = stored_shape(source, model, tensor.name);
    PRUNUS_CHECK(shape == tensor.shape, Corrupt, checkpoint.dir(), ": tensor '", name,
                 "' has shape ", shape_text(shape), ", config.json asks for ",
                 shape_text(tensor.shape));
  }
  for (const TensorInfo& tensor : model.tensors()) source.dtype(tensor);
  // A head that a tied model stores has the embedding's bytes: see settle_head().
  if (model.config().tie_word_embeddings) {
    known.insert(source.name_in_file(name_of(family, Role::LmHead)));
  }
  for (const std::string& name : checkpoint.names()) {
    const bool adapter = name.find(".lora_") != std::string::npos;
    const bool passed_over =
        source.names().passed_over().contains(name) || source.stored().is_about_activations(name);
    PRUNUS_CHECK(known.contains(name) || passed_over || is_derived_buffer(family, name),
                 Unsupported, checkpoint.dir(), ": tensor '", name, "' has no place in a ",
                 family.model_type,
                 " model with this config.json; leaving it out would change the mathematics",
                 adapter ? ". It belongs to an adapter that was saved unmerged: merge it with PEFT "
                           "(merge_and_unload), or save it on its own and use `prunus merge`"
                         : "");
  }
}

bool same_bytes(const Checkpoint& checkpoint, const std::string& one, const std::string& other) {
  constexpr size_t kPiece = size_t{1} << 24;
  const TensorEntry &left = checkpoint.entry(one), &right = checkpoint.entry(other);
  if (left.dtype_name != right.dtype_name || left.shape != right.shape) return false;
  const at::Tensor a = checkpoint.read_stored(one), b = checkpoint.read_stored(other);
  const auto* x = static_cast<const std::byte*>(a.const_data_ptr());
  const auto* y = static_cast<const std::byte*>(b.const_data_ptr());
  bool same = true;
  for (size_t at = 0; same && at < a.nbytes(); at += kPiece) {
    same = std::memcmp(x + at, y + at, std::min(kPiece, a.nbytes() - at)) == 0;
  }
  checkpoint.release(one);
  checkpoint.release(other);
  return same;
}

// Once a run for each directory: a run opens its model several times.
bool is_new(const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  return said.insert(line).second;
}

void say_dequantized(const CheckpointSource& source, const Model& model) {
  int64_t count = 0;
  const std::vector<FileTensor> tensors = file_tensors(model.tensors());
  for (const FileTensor& tensor : tensors) {
    count += source.stored().quantized(source.name_in_file(tensor.name)) ? 1 : 0;
  }
  if (count == 0) return;
  const std::string line =
      c10::str(source.checkpoint().dir(), ": ", count, " of ", tensors.size(),
               " tensors are quantised (", source.stored().quantization()->method,
               "): they are read as BF16, and what is written is BF16 without "
               "quantization_config");
  if (is_new(line)) log_info(line);
}

void say_text_only(const TextPart& text, const TensorNames& names, const ModelConfig& config,
                   const std::string& dir) {
  const std::string line = c10::str(
      dir, ": of this ", text.multimodal->model_type, " model the language model is used, a ",
      config.family->model_type, "; its other parts (", names.passed_over().size(),
      " tensors) are passed over, and what is written is a text model");
  if (is_new(line)) log_info(line);
}

// What a tied model's checkpoint shows of its head, as transformers takes it.
void settle_head(const Checkpoint& checkpoint, TensorNames& names, ModelConfig& config) {
  if (!config.tie_word_embeddings) return;
  const std::string head = name_of(*config.family, Role::LmHead);
  const std::string embedding = name_of(*config.family, Role::EmbedTokens);
  const bool has_head = !head.empty() && checkpoint.contains(names.in_file(head));
  if (!has_head) return;
  if (!checkpoint.contains(names.in_file(embedding))) {
    names.substitute(embedding, head);
    return;
  }
  if (same_bytes(checkpoint, names.in_file(embedding), names.in_file(head))) return;
  config.tie_word_embeddings = false;
  log_info(c10::str(checkpoint.dir(), ": config.json ties the head to the embedding, but '",
                    names.in_file(head), "' holds other values: it is used as it is stored, and ",
                    "what is written will say ", config.family->tied.key, " false"));
}

}  // namespace

int64_t factor_size(const ModelConfig& config, int layer, Factor factor) {
  const auto shape = [&]() -> const LayerShape& {
    return config.layers.at(static_cast<size_t>(layer));
  };
  switch (factor) {
    case Factor::None:
      return 1;
    case Factor::Vocab:
      return config.vocab_size;
    case Factor::Hidden:
      return config.hidden_size;
    case Factor::Ffn:
      return shape().intermediate_size;
    case Factor::KvGroup:
      return shape().num_key_value_heads;
    case Factor::Query:
      return shape().num_key_value_heads == 0
                 ? 0
                 : shape().num_attention_heads / shape().num_key_value_heads;
    case Factor::Half:
      return 2;
    case Factor::Pair:
      return config.head_dim / 2;
    case Factor::Value:
    case Factor::Whole:
      return config.head_dim;
    case Factor::Position:
      return config.max_position_embeddings + config.family->position_offset;
    case Factor::Expert:
      return shape().experts == 0 ? 1 : shape().experts;
    case Factor::SharedFfn:
      return shape().shared_intermediate_size;
    case Factor::One:
      return 1;
  }
  return 1;
}

at::Tensor WeightSource::read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const {
  return read(tensor).narrow(0, begin, count);
}

at::Tensor WeightSource::select_rows(const TensorInfo& tensor, const at::Tensor& rows) const {
  return at::index_select(read(tensor), 0, rows);
}

std::vector<TensorInfo> tensors_of(const ModelConfig& config) {
  std::vector<TensorInfo> tensors;
  const auto table = config.family->tensors();
  size_t next = 0;
  const auto outside = [&] {
    for (; next < table.size() && !in_layers(table[next]); ++next) {
      if (config.has(table[next], -1)) tensors.push_back(place(config, table[next], -1));
    }
  };
  outside();
  const size_t first = next;
  for (int layer = 0; layer < static_cast<int>(config.layers.size()); ++layer) {
    for (next = first; next < table.size() && in_layers(table[next]); ++next) {
      if (!config.has(table[next], layer)) continue;
      tensors.push_back(place(config, table[next], layer));
      const TensorSpec* bias = missing_bias(config, table[next]);
      if (bias != nullptr) tensors.push_back(place(config, *bias, layer));
    }
  }
  outside();
  place_in_files(tensors);
  return tensors;
}

Model::Model(ModelConfig config, std::shared_ptr<const WeightSource> source)
    : config_(std::move(config)), source_(std::move(source)), tensors_(tensors_of(config_)) {
  std::array<int, kRoleCount> none{};
  none.fill(-1);
  index_.assign(config_.layers.size() + 1, none);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto layer = static_cast<size_t>(tensors_[i].layer + 1);
    index_[layer][static_cast<size_t>(tensors_[i].spec->role)] = static_cast<int>(i);
  }
}

const TensorInfo& Model::tensor(Role role, int layer) const {
  if (role == Role::LmHead && config_.tie_word_embeddings) role = Role::EmbedTokens;
  const int at = index_.at(static_cast<size_t>(layer + 1))[static_cast<size_t>(role)];
  PRUNUS_CHECK(at >= 0, InvalidArgument, "the model has no ", role_name(role),
               layer < 0 ? std::string(" outside its layers") : c10::str(" in layer ", layer));
  return tensors_[static_cast<size_t>(at)];
}

void check_finite(const at::Tensor& tensor, const std::string& what) {
  // A sum is NaN or infinite as soon as one element is; the converse needs the second look. Piece
  // by piece: the sum of a half-precision tensor makes an FP32 copy of it.
  constexpr int64_t kPiece = int64_t{1} << 24;
  const at::Tensor flat = tensor.flatten();
  int64_t bad = 0;
  for (int64_t begin = 0; begin < flat.numel(); begin += kPiece) {
    const at::Tensor piece = flat.narrow(0, begin, std::min(kPiece, flat.numel() - begin));
    if (std::isfinite(piece.sum(at::kFloat).item<float>())) continue;
    bad += piece.numel() - at::isfinite(piece).sum().item<int64_t>();
  }
  PRUNUS_CHECK(bad == 0, Corrupt, "tensor '", what, "' holds ", bad,
               " values that are NaN or infinite; damaged or diverged checkpoint");
}

at::Tensor Model::load(const TensorInfo& tensor, at::Device device, at::Tensor memory) const {
  const at::Tensor stored = source_->read(tensor);
  return checked(tensor, stored,
                 memory.defined() ? memory.copy_(stored) : stored.to(device).to(precision_));
}

at::Tensor Model::load_stored(const TensorInfo& tensor) const {
  const at::Tensor stored = source_->read(tensor);
  const bool quantised = tensor.shape.size() > 1 && source_->in_blocks(tensor);
  const bool vector = tensor.shape.size() == 1;
  return checked(tensor, stored,
                 quantised ? stored.to(at::kBFloat16)
                 : vector  ? stored.to(at::kFloat)
                           : stored);
}

at::Tensor Model::checked(const TensorInfo& tensor, const at::Tensor& stored,
                          const at::Tensor& loaded) const {
  if (loaded.data_ptr() != stored.data_ptr()) source_->release(tensor);
  if (!checked_.contains(tensor.name)) check_finite(loaded, tensor.name);
  checked_.insert(tensor.name);
  return loaded;
}

BlockWeights Model::load_block(int layer, at::Device device, BlockWeights weights) const {
  const auto& places = index_.at(static_cast<size_t>(layer + 1));
  for (size_t role = 0; role < places.size(); ++role) {
    if (places[role] < 0) {  // another layer may have had it
      weights.tensors_[role] = at::Tensor();
      weights.owned_[role] = false;
      continue;
    }
    const TensorInfo& tensor = tensors_[static_cast<size_t>(places[role])];
    at::Tensor& slot = weights.tensors_[role];
    const bool fits = weights.owned_[role] && slot.device() == device &&
                      slot.scalar_type() == precision_ &&
                      slot.sizes() == c10::IntArrayRef(tensor.shape);
    const at::Tensor loaded = load(tensor, device, fits ? slot : at::Tensor());
    weights.owned_[role] = source_->dtype(tensor) != precision_;
    slot = loaded;
  }
  return weights;
}

std::optional<PackedWeight> Model::load_packed(const TensorInfo& tensor) const {
  std::optional<PackedWeight> packed = source_->read_packed(tensor);
  if (packed && !checked_.contains(tensor.name)) {
    packed->check_finite(tensor.name);
    checked_.insert(tensor.name);
  }
  return packed;
}

BlockWeights Model::load_packed_block(int layer) const {
  BlockWeights weights;
  const bool dense = config_.layers.at(static_cast<size_t>(layer)).experts == 0;
  for (const int at : index_.at(static_cast<size_t>(layer + 1))) {
    if (at < 0) continue;
    const TensorInfo& tensor = tensors_[static_cast<size_t>(at)];
    const Role role = tensor.spec->role;
    std::optional<PackedWeight> packed = dense ? load_packed(tensor) : std::nullopt;
    if (packed) {
      weights.packed_.emplace(role, std::move(*packed));
    } else {
      weights[role] = load_stored(tensor);
    }
  }
  return weights;
}

void Model::release_block(int layer) const {
  for (const int at : index_.at(static_cast<size_t>(layer + 1))) {
    if (at >= 0) source_->release(tensors_[static_cast<size_t>(at)]);
  }
}

void Model::prefetch_block(int layer) const {
  if (layer < 0 || layer >= layer_count()) return;
  for (const int at : index_[static_cast<size_t>(layer + 1)]) {
    if (at >= 0) source_->prefetch(tensors_[static_cast<size_t>(at)]);
  }
}

int64_t Model::parameters() const {
  int64_t count = 0;
  for (const TensorInfo& tensor : tensors_) count += c10::multiply_integers(tensor.shape);
  return count;
}

int64_t Model::bytes() const {
  int64_t count = 0;
  for (const TensorInfo& tensor : tensors_) {
    count += c10::multiply_integers(tensor.shape) *
             static_cast<int64_t>(c10::elementSize(source_->dtype(tensor)));
  }
  return count;
}

at::Tensor CheckpointSource::read(const TensorInfo& tensor) const {
  const std::vector<std::string> names = file_names(tensor);
  if (tensor.stored.experts == 0) {
    const at::Tensor stored = stored_.read(name_in_file(names[0]));
    return tensor.stored.plain() ? stored : part_of(stored, tensor);
  }
  std::vector<at::Tensor> experts;
  for (const std::string& name : names) experts.push_back(stored_.read(name_in_file(name)));
  return at::cat(experts, tensor.stored.expert_dim);
}

bool CheckpointSource::has(const TensorInfo& tensor) const {
  return stored_.contains(name_in_file(file_names(tensor)[0]));
}

at::ScalarType CheckpointSource::dtype(const TensorInfo& tensor) const {
  return stored_.dtype(name_in_file(file_names(tensor)[0]));
}

std::optional<PackedWeight> CheckpointSource::read_packed(const TensorInfo& tensor) const {
  const StoredPlace& place = tensor.stored;
  const bool rows_together = place.experts == 0 && !place.transposed && place.groups == 1;
  if (!stored_.any_masked() || tensor.shape.size() != 2 || !rows_together) return std::nullopt;
  const std::string name = name_in_file(place.file_tensor);
  if (stored_.masked(name)) return packed_bitmask(stored_.bitmask(name), place.begin, place.rows);
  return stored_.quantized(name) ? std::nullopt : std::optional(packed_plain(read(tensor)));
}

bool CheckpointSource::in_blocks(const TensorInfo& tensor) const {
  const std::string name = name_in_file(file_names(tensor)[0]);
  return stored_.masked(name) && stored_.dtype(name) == at::kFloat;
}

void CheckpointSource::prefetch(const TensorInfo& tensor) const {
  for (const std::string& name : file_names(tensor)) stored_.prefetch(name_in_file(name));
}

void CheckpointSource::release(const TensorInfo& tensor) const {
  for (const std::string& name : file_names(tensor)) stored_.release(name_in_file(name));
}

Model open_model(const std::string& dir) {
  if (is_gguf_path(dir)) return open_gguf_model(dir);
  const Json json = read_config(dir);
  const std::string where = dir + "/config.json";
  const std::optional<TextPart> text = text_part(json, where);
  ModelConfig config = parse_config(text ? text->config() : json, where);
  Checkpoint checkpoint = Checkpoint::open(dir);
  TensorNames names(checkpoint.names(), *config.family, dir, text.has_value());
  if (text) say_text_only(*text, names, config, dir);
  if (!names.wrappers().empty()) {
    log_info(c10::str(dir, ": tensor names carry ", names.wrappers(),
                      " of a wrapper; read, and written, without"));
  }
  settle_head(checkpoint, names, config);
  std::optional<Quantization> quantization = quantization_of(text ? text->config() : json, where);
  const bool quantized = quantization.has_value();
  auto source = std::make_shared<CheckpointSource>(std::move(checkpoint), std::move(names),
                                                   std::move(quantization));
  Model model(std::move(config), source);
  check_tensors(*source, model);
  if (quantized) say_dequantized(*source, model);
  return model;
}

}  // namespace prunus
