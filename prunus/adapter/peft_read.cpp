#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include <ATen/ATen.h>

#include "prunus/adapter/lora_targets.h"
#include "prunus/adapter/peft.h"
#include "prunus/adapter/peft_config.h"
#include "prunus/base/error.h"
#include "prunus/io/quote.h"
#include "prunus/io/safetensors.h"
#include "prunus/io/safetensors_dtype.h"
#include "prunus/model/layout.h"

namespace prunus {
namespace {

constexpr const char* kWrongModel =
    "; is it the adapter of another model? One of the dense model does not fit its pruned one";
constexpr std::string_view kPrefix = "base_model.model.";

std::shared_ptr<SafetensorsFile> open_weights(const std::string& dir) {
  const std::string path = dir + "/adapter_model.safetensors";
  const bool pickle =
      !std::filesystem::exists(path) && std::filesystem::exists(dir + "/adapter_model.bin");
  PRUNUS_CHECK(!pickle, NotFound, path,
               ": no such file. adapter_model.bin is a pickle, which can run code when read, so "
               "Prunus does not read it: save the adapter as safetensors");
  return SafetensorsFile::open(path);
}

// "a.base_layer.weight" → "a.weight": where PEFT put a wrapper around a module.
std::string unwrapped(std::string name) {
  for (const std::string_view wrapper : {".base_layer.", ".modules_to_save.default."}) {
    const auto at = name.find(wrapper);
    if (at != std::string::npos) name.replace(at, wrapper.size(), ".");
  }
  return name;
}

// Which columns of B, and rows of A, belong to each part alone, as write_peft makes them; nothing
// where some column serves several parts, or none has a value yet. A column of zeros goes with the
// one before it.
std::vector<at::Tensor> own_columns(const std::vector<at::Tensor>& parts) {
  std::vector<at::Tensor> used;
  for (const at::Tensor& part : parts) used.push_back((part != 0).any(0));
  const at::Tensor users = at::stack(used);  // [parts, r]
  if (users.sum(0).max().item<int64_t>() != 1) return {};
  std::vector<std::vector<int64_t>> columns(parts.size());
  const at::Tensor any = users.any(0);
  const at::Tensor which = users.to(at::kByte).argmax(0);
  int64_t owner = which[any.nonzero()[0].item<int64_t>()].item<int64_t>();
  for (int64_t column = 0; column < users.size(1); ++column) {
    if (any[column].item<bool>()) owner = which[column].item<int64_t>();
    columns[static_cast<size_t>(owner)].push_back(column);
  }
  std::vector<at::Tensor> result;
  for (const auto& one : columns) result.push_back(at::tensor(one, at::kLong));
  return result;
}

class Reader {
 public:
  Reader(const std::string& dir, const Model& model)
      : config_(PeftConfig::read(dir + "/adapter_config.json")),
        file_(open_weights(dir)),
        modules_(peft_modules(model)),
        tensors_(file_tensors(model.tensors())) {
    for (const FileTensor& tensor : tensors_) by_name_[tensor.name] = &tensor;
    for (const PeftModule& module : modules_) by_path_[module.path] = &module;
  }

  LoraAdapter run() {
    adapter_.options = config_.options();
    for (const PeftModule& module : modules_) {
      if (config_.targets(module)) read_module(module);
    }
    for (const TensorEntry& entry : file_->entries()) {
      if (!used_.contains(entry.name)) read_whole(entry);
    }
    check_saved();
    PRUNUS_CHECK(!adapter_.pairs.empty() || !adapter_.replaced.empty(), Corrupt, config_.where(),
                 ": 'target_modules' names no module of the model", kWrongModel);
    name_targets();
    return std::move(adapter_);
  }

 private:
  at::Tensor read(const TensorEntry& entry, at::IntArrayRef shape) {
    PRUNUS_CHECK(entry.shape == shape, Corrupt, file_->path(), ": tensor ", quote(entry.name),
                 " is ", at::IntArrayRef(entry.shape), ", expected ", shape, kWrongModel);
    PRUNUS_CHECK(is_weight_dtype(entry.dtype), Unsupported, file_->path(), ": tensor ",
                 quote(entry.name), " has dtype ", entry.dtype_name, ", expected F32, F16 or BF16");
    // A copy in any case: training writes into it.
    const at::Tensor value =
        file_->view(entry).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    check_finite(value, c10::str(file_->path(), ": tensor ", quote(entry.name)));
    used_.insert(entry.name);
    return value;
  }

  at::Tensor read(const std::string& name, at::IntArrayRef shape) {
    const TensorEntry* entry = file_->find(name);
    PRUNUS_CHECK(entry != nullptr, Corrupt, file_->path(), ": tensor ", quote(name),
                 " is missing, although adapter_config.json calls for it", kWrongModel);
    return read(*entry, shape);
  }

  void read_module(const PeftModule& module) {
    const std::string name = c10::str(kPrefix, module.path, ".");
    const bool embedding = module.kind == PeftModule::Kind::Embedding;
    const std::string a_name = name + (embedding ? "lora_embedding_A" : "lora_A.weight");
    const std::string b_name = name + (embedding ? "lora_embedding_B" : "lora_B.weight");
    const bool there = file_->find(a_name) != nullptr || file_->find(b_name) != nullptr;
    // Later versions of the stock model have these inside other modules, where PEFT finds none.
    const bool perhaps =
        module.kind == PeftModule::Kind::Expert || module.parts[0]->spec->role == Role::Router;
    if (perhaps && !there) return;
    PRUNUS_CHECK(module.kind != PeftModule::Kind::Expert, Unsupported, file_->path(), ": tensor ",
                 quote(a_name),
                 " adapts a single expert, which is a part of one weight here: "
                 "Prunus merges no adapters of single experts");
    const LoraOptions own = config_.options_of(module.path);
    const int64_t rows = module.rows();
    const int64_t columns = module.columns();
    LoraPair pair{.a = {}, .b = {}, .scale = own.scale(), .magnitude = {}};
    if (embedding) {
      pair.b = read(a_name, {own.r, rows}).t().contiguous();
      pair.a = read(b_name, {columns, own.r}).t().contiguous();
    } else {
      pair.a = read(a_name, {own.r, columns});
      pair.b = read(b_name, {rows, own.r});
    }
    if (config_.dora()) pair.magnitude = read_magnitude(name, embedding ? columns : rows);
    if (config_.lora_bias() && !embedding) add_bias(module, name + "lora_B.bias", pair.scale);
    keep(module, pair);
  }

  at::Tensor read_magnitude(const std::string& name, int64_t size) {
    const std::string plain = name + "lora_magnitude_vector";
    return read(file_->find(plain) != nullptr ? plain : plain + ".weight", {size});
  }

  void add_bias(const PeftModule& module, const std::string& name, double scale) {
    const at::Tensor bias = read(name, {module.rows()});
    const auto found = by_name_.find(module.path + ".bias");
    PRUNUS_CHECK(found != by_name_.end(), Unsupported, file_->path(), ": tensor ", quote(name),
                 " needs a bias, and '", module.path, "' of the model has none");
    for (const TensorInfo* part : found->second->parts) {
      adapter_.added[part->name] = part_rows(bias, part->stored) * scale;
    }
  }

  // One pair for each of the model's weights in the module.
  void keep(const PeftModule& module, const LoraPair& pair) {
    if (module.parts.size() == 1) {
      const TensorInfo& weight = *module.parts[0];
      adapter_.pairs.emplace(std::pair(weight.layer, weight.spec->role), pair);
      return;
    }
    std::vector<at::Tensor> rows;
    for (const TensorInfo* part : module.parts) rows.push_back(part_rows(pair.b, part->stored));
    const std::vector<at::Tensor> columns =
        config_.dora() ? std::vector<at::Tensor>() : own_columns(rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      const TensorInfo& part = *module.parts[i];
      LoraPair own{pair.a.clone(), rows[i], pair.scale, {}};
      if (config_.dora()) own.magnitude = part_rows(pair.magnitude, part.stored);
      if (!columns.empty()) {
        if (columns[i].numel() == 0) continue;
        own.a = pair.a.index_select(0, columns[i]);
        own.b = rows[i].index_select(1, columns[i]);
      }
      adapter_.pairs.emplace(std::pair(part.layer, part.spec->role), std::move(own));
    }
  }

  // Whether the configuration explains a whole tensor of the model among the adapter's.
  bool explains(const FileTensor& tensor) const {
    const std::string path = tensor.name.substr(0, tensor.name.rfind('.'));
    const Role role = tensor.parts[0]->spec->role;
    // PEFT adds the vocabulary's where an adapter is on it, or where it was resized.
    if (role == Role::EmbedTokens || role == Role::LmHead || config_.saves(path)) return true;
    if (!tensor.name.ends_with(".bias")) return false;
    const auto module = by_path_.find(path);
    return config_.bias() == PeftConfig::Bias::All ||
           (config_.bias() == PeftConfig::Bias::LoraOnly && module != by_path_.end() &&
            config_.targets(*module->second));
  }

  void read_whole(const TensorEntry& entry) {
    const bool ours = entry.name.starts_with(kPrefix);
    const auto found =
        by_name_.find(ours ? unwrapped(entry.name.substr(kPrefix.size())) : std::string());
    PRUNUS_CHECK(found != by_name_.end() && explains(*found->second), Corrupt, file_->path(),
                 ": tensor ", quote(entry.name),
                 " belongs to no weight of the model that adapter_config.json calls for",
                 kWrongModel);
    const FileTensor& tensor = *found->second;
    PRUNUS_CHECK(tensor.expert < 0, Unsupported, file_->path(), ": tensor ", quote(entry.name),
                 " is of a single expert, which is a part of one weight here");
    const at::Tensor value = read(entry, tensor.shape);
    for (const TensorInfo* part : tensor.parts)
      adapter_.replaced[part->name] = part_of(value, *part);
  }

  void check_saved() const {
    for (const FileTensor& tensor : tensors_) {
      if (!config_.saves(tensor.name.substr(0, tensor.name.rfind('.')))) continue;
      PRUNUS_CHECK(adapter_.replaced.contains(tensor.parts[0]->name), Corrupt, file_->path(),
                   ": tensor ", quote(c10::str(kPrefix, tensor.name)),
                   " is missing, although 'modules_to_save' calls for it", kWrongModel);
    }
  }

  void name_targets() {
    std::set<Role> roles;
    for (const auto& [place, pair] : adapter_.pairs) roles.insert(place.second);
    adapter_.options.targets.clear();
    for (const Role role : roles) {
      adapter_.options.targets += (adapter_.options.targets.empty() ? "" : ",") + role_name(role);
    }
  }

  PeftConfig config_;
  std::shared_ptr<SafetensorsFile> file_;
  std::vector<PeftModule> modules_;
  std::vector<FileTensor> tensors_;
  std::map<std::string, const FileTensor*> by_name_;
  std::map<std::string, const PeftModule*> by_path_;
  std::set<std::string> used_;
  LoraAdapter adapter_;
};

}  // namespace

LoraAdapter read_peft(const std::string& dir, const Model& model) {
  return Reader(dir, model).run();
}

}  // namespace prunus
