#pragma once
// What the tests of sub-block repair share: a run, what it gave, and small models to repair.
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "prunus/adapter/merge.h"
#include "prunus/graph/shrink.h"
#include "prunus/solve/sub_block.h"

#include "support/tiny_model.h"

namespace prunus::test {

using Tensors = std::map<std::string, at::Tensor>;

struct Outcome {
  std::vector<SubBlockResult> results;
  std::map<int, std::vector<OverlayTensor>> layers;  // as `done` gave them

  Tensors tensors() const {
    Tensors all;
    for (const auto& [layer, list] : layers) {
      for (const OverlayTensor& one : list) all[one.tensor->name] = one.value;
    }
    return all;
  }
};

inline std::vector<int64_t> one_to_one(const Model& model) {
  std::vector<int64_t> layers(static_cast<size_t>(model.layer_count()));
  std::iota(layers.begin(), layers.end(), int64_t{0});
  return layers;
}

inline Outcome repair(const Model& pruned, const Model& dense, const std::vector<TokenBatch>& rows,
                      const SubBlockOptions& options, std::vector<int64_t> layers = {}) {
  if (layers.empty()) layers = one_to_one(pruned);
  Outcome outcome;
  outcome.results =
      repair_sub_blocks(pruned, dense, layers, rows, at::kCPU, options,
                        [&](int layer, const auto& list) { outcome.layers[layer] = list; });
  return outcome;
}

inline Model repaired_model(const Model& pruned, const Outcome& outcome) {
  return Model(pruned.config(),
               std::make_shared<OverlaySource>(pruned.shared_source(), outcome.tensors()));
}

// Half of the channels and half of the heads of both layers are gone.
inline Model halved(const Model& dense) {
  return shrink(dense, {{AxisLabel::Ffn, 0, {0, 2, 4, 6, 8, 10}},
                        {AxisLabel::Ffn, 1, {1, 2, 3, 7, 8, 9}},
                        {AxisLabel::KvGroup, 0, {0, 2}},
                        {AxisLabel::KvGroup, 1, {1, 3}}});
}

inline std::vector<TokenBatch> text(const Model& model, int64_t rows, int64_t seq,
                                    uint64_t seed = 3) {
  return {{random_ids(model, rows, seq, seed)}};
}

inline double relative_square(const at::Tensor& target, const at::Tensor& output) {
  const at::Tensor wanted = target.to(at::kDouble);
  return ((wanted - output.to(at::kDouble)).square().sum() / wanted.square().sum()).item<double>();
}

inline constexpr SubBlockOptions kShort{.epochs = 6, .batch_rows = 4, .lr = 5e-3};

}  // namespace prunus::test
