#include "prunus/adapter/peft_modules.h"

#include <algorithm>
#include <cctype>

#include "prunus/model/layout.h"

namespace prunus {
namespace {

constexpr std::string_view kWeight = ".weight";

PeftModule::Kind kind_of(const FileTensor& tensor) {
  if (tensor.expert >= 0) return PeftModule::Kind::Expert;
  const TensorSpec& spec = *tensor.parts[0]->spec;
  if (spec.rank == 1) return PeftModule::Kind::Vector;
  if (spec.role == Role::LmHead) return PeftModule::Kind::Head;
  const bool embedding = spec.role == Role::EmbedTokens || spec.role == Role::EmbedPositions;
  return embedding ? PeftModule::Kind::Embedding : PeftModule::Kind::Matrix;
}

}  // namespace

int64_t PeftModule::rows() const {
  const StoredPlace& place = parts[0]->stored;
  return kind == Kind::Expert ? parts[0]->shape[0] : place.groups * place.of;
}

std::vector<PeftModule> peft_modules(const Model& model) {
  std::vector<PeftModule> modules;
  for (FileTensor& tensor : file_tensors(model.tensors())) {
    if (!tensor.name.ends_with(kWeight)) continue;
    const PeftModule::Kind kind = kind_of(tensor);
    tensor.name.resize(tensor.name.size() - kWeight.size());
    modules.push_back({std::move(tensor.name), std::move(tensor.parts), kind});
  }
  return modules;
}

bool ends_in(std::string_view path, std::string_view name) {
  if (!path.ends_with(name)) return false;
  return path.size() == name.size() || path[path.size() - name.size() - 1] == '.';
}

std::string shortest_name(const std::string& path, const std::vector<std::string>& paths,
                          const std::function<bool(const std::string&)>& belongs) {
  for (size_t dot = path.rfind('.'); dot != std::string::npos; dot = path.rfind('.', dot - 1)) {
    const std::string name = path.substr(dot + 1);
    if (std::isdigit(static_cast<unsigned char>(name[0])) != 0) break;
    const bool exact = std::all_of(paths.begin(), paths.end(), [&](const std::string& other) {
      return !ends_in(other, name) || belongs(other);
    });
    if (exact) return name;
  }
  return path;
}

}  // namespace prunus
