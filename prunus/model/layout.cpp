#include "prunus/model/layout.h"

#include <map>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr std::string_view kExpert = "{e}";

std::string with_expert(std::string name, const std::string& expert) {
  const auto at = name.find(kExpert);
  if (at != std::string::npos) name.replace(at, kExpert.size(), expert);
  return name;
}

// Shape of the file's tensor for a weight that has it alone, or for all parts together.
std::vector<int64_t> file_shape(const TensorInfo& tensor) {
  std::vector<int64_t> shape = tensor.shape;
  const StoredPlace& place = tensor.stored;
  if (place.experts > 0) {
    shape[static_cast<size_t>(place.expert_dim)] /= place.experts;
  } else {
    shape[0] = place.groups * place.of;
  }
  if (place.transposed) std::swap(shape[0], shape[1]);
  return shape;
}

at::Tensor joined(const FileTensor& file, const WeightSource& source) {
  std::vector<at::Tensor> parts;
  for (const TensorInfo* part : file.parts) parts.push_back(source.read(*part));
  return joined_rows(parts, file.parts[0]->stored.groups);
}

}  // namespace

std::string role_name(Role role) {
  static constexpr const char* kNames[kRoleCount] = {
      "embed_tokens",     "final_norm",      "lm_head",          "attn_norm",
      "q_proj",           "k_proj",          "v_proj",           "o_proj",
      "q_bias",           "k_bias",          "v_bias",           "o_bias",
      "q_norm",           "k_norm",          "mlp_norm",         "gate_proj",
      "up_proj",          "down_proj",       "gate_bias",        "up_bias",
      "down_bias",        "embed_positions", "embed_norm",       "embed_norm_bias",
      "final_norm_bias",  "attn_norm_bias",  "mlp_norm_bias",    "post_attn_norm",
      "post_mlp_norm",    "router",          "shared_gate_proj", "shared_up_proj",
      "shared_down_proj", "shared_router"};
  return kNames[static_cast<size_t>(role)];
}

void place_in_files(std::vector<TensorInfo>& tensors) {
  std::map<std::string, std::vector<size_t>> sharing;
  for (size_t i = 0; i < tensors.size(); ++i) sharing[tensors[i].name].push_back(i);
  for (const auto& [name, members] : sharing) {
    int64_t begin = 0;
    for (const size_t i : members) {
      TensorInfo& tensor = tensors[i];
      StoredPlace& place = tensor.stored;
      place.file_tensor = name;
      place.transposed = tensor.spec->transposed;
      place.groups = tensor.spec->interleave == Factor::KvGroup && members.size() > 1
                         ? tensor.stored.groups
                         : 1;
      place.rows = tensor.shape[0] / place.groups;
      place.begin = begin;
      begin += place.rows;
      if (name.find(kExpert) == std::string::npos) {
        place.experts = 0;
      } else {
        place.expert_dim = tensor.spec->axes[0].factors[0] == Factor::Expert ? 0 : 1;
        tensor.name = with_expert(name, "*");
      }
      if (members.size() > 1) tensor.name += "#" + role_name(tensor.spec->role);
    }
    for (const size_t i : members) tensors[i].stored.of = begin;
  }
}

std::vector<FileTensor> file_tensors(const std::vector<TensorInfo>& tensors) {
  std::vector<FileTensor> files;
  std::map<std::string, size_t> places;
  for (const TensorInfo& tensor : tensors) {
    const StoredPlace& stored = tensor.stored;
    for (int64_t expert = 0; expert < stored.experts; ++expert) {
      files.push_back({with_expert(stored.file_tensor, std::to_string(expert)),
                       file_shape(tensor),
                       {&tensor},
                       expert});
    }
    if (stored.experts > 0) continue;
    const auto [found, added] = places.try_emplace(stored.file_tensor, files.size());
    if (added) files.push_back({stored.file_tensor, file_shape(tensor), {}, -1});
    files[found->second].parts.push_back(&tensor);
  }
  return files;
}

std::vector<std::string> file_names(const TensorInfo& tensor) {
  const StoredPlace& stored = tensor.stored;
  if (stored.experts == 0) return {stored.file_tensor};
  std::vector<std::string> names;
  for (int64_t expert = 0; expert < stored.experts; ++expert) {
    names.push_back(with_expert(stored.file_tensor, std::to_string(expert)));
  }
  return names;
}

at::Tensor part_rows(const at::Tensor& rows, const StoredPlace& place) {
  if (place.rows == place.of) return rows.contiguous();
  return rows.unflatten(0, {place.groups, place.of})
      .narrow(1, place.begin, place.rows)
      .flatten(0, 1)
      .contiguous();
}

at::Tensor joined_rows(const std::vector<at::Tensor>& parts, int64_t groups) {
  if (parts.size() == 1) return parts[0];
  std::vector<at::Tensor> grouped;
  for (const at::Tensor& part : parts) grouped.push_back(part.unflatten(0, {groups, -1}));
  return at::cat(grouped, 1).flatten(0, 1);
}

at::Tensor part_of(const at::Tensor& stored, const TensorInfo& tensor) {
  const StoredPlace& place = tensor.stored;
  return part_rows(place.transposed && tensor.spec->rank == 2 ? stored.t() : stored, place);
}

at::Tensor file_value(const FileTensor& file, const WeightSource& source) {
  const TensorInfo& first = *file.parts[0];
  at::Tensor value;
  if (file.expert >= 0) {
    const int64_t dim = first.stored.expert_dim;
    const int64_t size = first.shape[static_cast<size_t>(dim)] / first.stored.experts;
    value = source.read(first).narrow(dim, file.expert * size, size);
  } else if (file.parts.size() == 1) {
    value = source.read(first);
  } else {
    value = joined(file, source);
  }
  return (first.stored.transposed && first.spec->rank == 2 ? value.t() : value).contiguous();
}

}  // namespace prunus
