#include "prunus/model/tensor_names.h"

#include <algorithm>

#include "prunus/base/error.h"
#include "prunus/model/text_part.h"

namespace prunus {
namespace {

// "model." of "model.embed_tokens.weight": what the base class has as its name in the whole model.
std::string base_prefix(const Family& family) {
  const std::string_view first = family.tensors().front().name;
  return std::string(first.substr(0, first.find('.') + 1));
}

bool in_base(const Family& family, std::string_view name, const std::string& prefix) {
  const auto table = family.tensors();
  return std::none_of(table.begin(), table.end(), [&](const TensorSpec& spec) {
    return spec.name == name && !spec.name.starts_with(prefix);
  });
}

}  // namespace

std::string TensorNames::unwrapped(std::string name, std::set<std::string>& found) const {
  const auto cut = [&](size_t at, std::string_view what) {
    name.erase(at, what.size());
    found.emplace(what);
  };
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view front : {"module.", "base_model.model."}) {
      if (!name.starts_with(front)) continue;
      cut(0, front);
      again = true;
    }
    for (const std::string_view inside : {"_orig_mod.", "base_layer."}) {
      const auto at = name.find(inside);
      if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) continue;
      cut(at, inside);
      again = true;
    }
  }
  return name;
}

TensorNames::TensorNames(const std::vector<std::string>& stored, const Family& family,
                         const std::string& dir, bool multimodal) {
  const std::string prefix = base_prefix(family);
  std::set<std::string> found;
  std::map<std::string, std::string> plain;
  for (const std::string& name : stored) {
    std::string own = unwrapped(name, found);
    if (multimodal) own = text_tensor_name(own);
    if (own.empty()) {
      passed_over_.insert(name);
      continue;
    }
    const auto [other, added] = plain.emplace(std::move(own), name);
    PRUNUS_CHECK(added, Corrupt, dir, ": tensors '", other->second, "' and '", name,
                 "' are both called '", other->first, "' once what wrappers left is taken off");
  }
  const bool whole = std::any_of(plain.begin(), plain.end(),
                                 [&](const auto& pair) { return pair.first.starts_with(prefix); });
  for (const auto& [name, in_checkpoint] : plain) {
    const std::string full = whole || !in_base(family, name, prefix) ? name : prefix + name;
    if (full != in_checkpoint) stored_[full] = in_checkpoint;
  }
  for (const std::string& one : found) wrappers_ += (wrappers_.empty() ? "" : ", ") + one;
}

std::string TensorNames::in_file(const std::string& name) const {
  const auto found = stored_.find(name);
  return found == stored_.end() ? name : found->second;
}

void TensorNames::substitute(const std::string& name, const std::string& other) {
  stored_[name] = in_file(other);
}

}  // namespace prunus
