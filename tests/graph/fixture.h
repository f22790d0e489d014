#pragma once
// What the tests of graph share: every kind of model, and weights set to zero by name.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "prunus/graph/groups.h"

#include "support/tiny_model.h"

namespace prunus::test {

/// Every family with as many KV heads as query heads, with fewer, and with one.
inline std::vector<TinySizes> every_kind() {
  std::vector<TinySizes> kinds;
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    kinds.push_back({.family = family});                 // MHA, untied
    kinds.push_back({.family = family, .kv_heads = 2});  // GQA
    kinds.push_back({.family = family, .kv_heads = 1, .tied = true});
  }
  return kinds;
}

inline std::string describe(const TinySizes& sizes) {
  return sizes.family + " with " + std::to_string(sizes.kv_heads) + " KV heads";
}

/// 0 … count − 1 without those.
inline std::vector<int64_t> all_but(int64_t count, const std::vector<int64_t>& removed) {
  std::vector<int64_t> kept;
  for (int64_t one = 0; one < count; ++one) {
    if (std::find(removed.begin(), removed.end(), one) == removed.end()) kept.push_back(one);
  }
  return kept;
}

/// "model.layers.<layer>.<name>".
inline std::string in_layer(int64_t layer, const std::string& name) {
  return "model.layers." + std::to_string(layer) + "." + name;
}

/// Sets these indices of a dimension to zero; a tensor that the model does not have is passed over.
inline void zero(MemorySource& weights, const std::string& name, int64_t dim,
                 const std::vector<int64_t>& indices) {
  const auto found = weights.tensors.find(name);
  if (found == weights.tensors.end()) return;
  found->second.index_fill_(dim, at::tensor(indices, at::kLong), 0);
}

/// Rows of a projection, with the bias where there is one.
inline void zero_rows(MemorySource& weights, const std::string& projection,
                      const std::vector<int64_t>& rows) {
  zero(weights, projection + ".weight", 0, rows);
  zero(weights, projection + ".bias", 0, rows);
}

/// The slices of one unit along a member's dimension, one by one.
inline std::vector<int64_t> slices_of(const GroupSet& set, const GroupMember& member,
                                      int64_t unit) {
  std::vector<int64_t> slices;
  const int64_t per_share = set.units_per_share();
  for (int64_t o = 0; o < member.outer; ++o) {
    for (int64_t i = 0; i < member.inner; ++i) {
      slices.push_back(((unit / per_share * member.outer + o) * per_share + unit % per_share) *
                           member.inner +
                       i);
    }
  }
  return slices;
}

/// A copy of the weights with every slice of one unit set to zero.
inline std::shared_ptr<MemorySource> zero_unit(const Model& model, const GroupSet& set,
                                               int64_t unit) {
  auto weights = copy_weights(model);
  for (const GroupMember& member : set.members) {
    zero(*weights, member.tensor.name, member.dim, slices_of(set, member, unit));
  }
  return weights;
}

}  // namespace prunus::test
