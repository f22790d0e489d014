#include "prunus/model/resident_model.h"

#include <map>
#include <set>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/kernel/row_product.h"
#include "prunus/model/gguf_source.h"
#include "prunus/model/matmul.h"

namespace prunus {

std::vector<BlockWeights> open_layers(const Model& model, const std::string& what,
                                      const std::function<BlockWeights(int layer)>& open) {
  Progress progress(what, model.layer_count());
  std::vector<BlockWeights> blocks;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    model.prefetch_block(layer + 1);
    blocks.push_back(open(layer));
    progress.step();
  }
  return blocks;
}

namespace {

std::string name_of_type(at::ScalarType type) {
  return type == at::kFloat ? "float32" : type == at::kHalf ? "float16" : "bfloat16";
}

// A matrix of numbers that stand alone, in the same memory; undefined for others.
at::Tensor plain_numbers(const PackedWeight& weight) {
  switch (weight.type) {
    case kernel::Stored::Float:
      return weight.bytes.view(at::kFloat);
    case kernel::Stored::BFloat16:
      return weight.bytes.view(at::kBFloat16);
    case kernel::Stored::Half:
      return weight.bytes.view(at::kHalf);
    default:
      return {};
  }
}

// How many matrices each type of blocks has that could not be kept in them.
void say_unpacked(const Model& model) {
  const auto* file = dynamic_cast<const GgufSource*>(&model.source());
  if (file == nullptr) return;
  std::map<std::string_view, int64_t> counts;
  for (const TensorInfo& tensor : model.tensors()) {
    const GgufBlockType& type = *file->place(tensor).tensor->type;
    if (tensor.shape.size() == 2 && type.elements > 1 && !file->read_packed(tensor)) {
      ++counts[type.name];
    }
  }
  for (const auto& [name, count] : counts) {
    log_info(c10::str(file->file().path(), ": ", count, " matrices of ", name,
                      " are held and multiplied in BF16; in their blocks are others"));
  }
}

}  // namespace

ResidentModel::ResidentModel(const Model& model, at::Device device, Residence where)
    : model_(model), device_(device), where_(where) {
  model_.set_precision(where.dtype);
  blocks_ = open_layers(model_, "load: layers", [&](int layer) {
    return where.packed ? model_.load_packed_block(layer) : model_.load_block(layer, device);
  });
  if (where.packed) say_unpacked(model_);
  norm_.emplace(model_, device);
  input_embedding_.emplace(model_, device);
  if (where.packed && !config().family->normalised_head) {
    packed_head_ = model_.load_packed(model_.tensor(Role::LmHead));
    if (packed_head_) {
      // Read from the file, a tied embedding's pages would be given back with every token.
      if (config().tie_word_embeddings) embedding_ = plain_numbers(*packed_head_);
      return;
    }
  }
  const TensorInfo& head = model_.tensor(Role::LmHead);
  head_ = where.packed ? model_.load_stored(head) : model_.load(head, device);
  projection_ = norm_->head_rows(head_);
  if (config().tie_word_embeddings) {
    embedding_ = head_;
  } else if (!device.is_cpu()) {
    embedding_ = model_.load(model_.tensor(Role::EmbedTokens), device);
  }
}

at::Tensor ResidentModel::embedded(const at::Tensor& ids, int64_t position) const {
  const at::Tensor places = at::arange(position, position + ids.size(1), at::kLong).unsqueeze(0);
  if (!embedding_.defined()) {
    return input_embedding_->finish(embedding_rows(model_, ids, device_), places).to(at::kFloat);
  }
  if (ids.device().is_cpu()) {
    const auto low = ids.min().item<int64_t>();
    const auto high = ids.max().item<int64_t>();
    PRUNUS_CHECK(low >= 0 && high < config().vocab_size, InvalidArgument, "token id ",
                 low < 0 ? low : high, " is outside the model's vocabulary of ",
                 config().vocab_size, "; does the tokenizer belong to this model?");
  }
  const at::Tensor rows = embedding_.index_select(0, ids.flatten().to(device_));
  return input_embedding_->finish(rows.to(at::kFloat).view({ids.size(0), ids.size(1), -1}), places)
      .to(at::kFloat);
}

// FP32 logits of normalised states [batch, hidden_size].
at::Tensor ResidentModel::project(const at::Tensor& normed) const {
  if (packed_head_) return packed_linear(normed, *packed_head_, {});
  if (normed.size(0) > kernel::kMostRows || !kernel::takes_row_product(projection_)) {
    return apply_linear(normed, projection_).to(at::kFloat);
  }
  at::Tensor logits = at::empty({normed.size(0), projection_.size(0)}, at::kFloat);
  kernel::row_product(normed, projection_, {}, logits);
  return logits;
}

at::Tensor ResidentModel::next_logits(const at::Tensor& ids, int64_t position,
                                      std::vector<LayerCache>& cache, LinearHook* hook) const {
  const Decoder decoder(config());
  at::Tensor hidden = embedded(ids, position);
  for (int layer = 0; layer < layer_count(); ++layer) {
    const auto at = static_cast<size_t>(layer);
    hidden = decoder.block(layer, blocks_[at], hidden, hook, &cache[at], position);
  }
  const at::Tensor last = hidden.select(1, hidden.size(1) - 1);
  const at::Tensor normed = norm_->scaled(norm_->normalised(last), hook);
  at::Tensor logits;
  if (hook != nullptr && !hook->only_watches()) {
    logits = hook->linear(Role::LmHead, normed, projection_, {}).to(at::kFloat);
  } else {
    if (hook != nullptr) hook->before(Role::LmHead);
    logits = project(normed);
    if (hook != nullptr) hook->after(Role::LmHead);
  }
  norm_->cap(logits);
  return logits;
}

std::vector<LayerCache> ResidentModel::empty_cache() const {
  std::vector<LayerCache> cache(static_cast<size_t>(layer_count()));
  for (LayerCache& layer : cache) layer.dtype = where_.kv;
  return cache;
}

std::string ResidentModel::dtype_text() const {
  if (!where_.packed) return name_of_type(where_.dtype);
  std::set<std::string_view> names;
  if (packed_head_) names.insert(packed_head_->name());
  const auto add = [&](const at::Tensor& matrix) {
    if (matrix.defined() && matrix.dim() > 1)
      names.insert(matrix.scalar_type() == at::kFloat ? "F32" : "BF16");
  };
  add(head_);
  for (const BlockWeights& block : blocks_) {
    for (const auto& [role, packed] : block.all_packed()) names.insert(packed.name());
    for (int role = 0; role < kRoleCount; ++role) add(block[static_cast<Role>(role)]);
  }
  return "as stored: " + c10::Join(", ", names);
}

int64_t ResidentModel::step_bytes() const {
  int64_t bytes = norm_->bytes();
  if (head_.defined()) bytes += static_cast<int64_t>(head_.nbytes());
  if (packed_head_) bytes += packed_head_->nbytes();
  for (const BlockWeights& block : blocks_) {
    for (const auto& [role, packed] : block.all_packed()) {
      bytes += packed.nbytes();
    }
    for (int role = 0; role < kRoleCount; ++role) {
      const at::Tensor& weight = block[static_cast<Role>(role)];
      if (weight.defined()) bytes += static_cast<int64_t>(weight.nbytes());
    }
  }
  return bytes;
}

int64_t ResidentModel::bytes() const {
  const bool apart = embedding_.defined() && !config().tie_word_embeddings;
  return step_bytes() + input_embedding_->bytes() +
         (apart ? static_cast<int64_t>(embedding_.nbytes()) : 0);
}

}  // namespace prunus
