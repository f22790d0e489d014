#pragma once
#include <map>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>

#include "prunus/calib/stream.h"

namespace prunus::test {

/// Everything that enters the products of a model's layers, and the layers, in FP64: what oracles
/// take their statistics from.
class RecordedInputs : public Collector {
 public:
  RecordedInputs(const Model& model, const std::vector<TokenBatch>& batches) {
    Model exact = model;
    exact.set_precision(at::kDouble);
    const BlockStream stream(exact, at::kCPU);
    std::vector<at::Tensor> hidden = stream.embed(batches);
    stream.forward(hidden, this);
  }
  void on_forward(const LinearSite& site, const at::Tensor& input, const at::Tensor&) override {
    inputs_[{site.layer, site.role, site.part.expert}].push_back(input.flatten(0, -2).clone());
  }
  void on_block(int layer, const at::Tensor& before, const at::Tensor& after, bool) override {
    before_[layer].push_back(before.flatten(0, 1).clone());
    after_[layer].push_back(after.flatten(0, 1).clone());
  }
  /// [tokens, channels]; of a mixture's experts those of the tokens that chose this one. Undefined
  /// where nothing entered the product.
  at::Tensor input(int layer, Role role, int expert = -1) const {
    const auto found = inputs_.find({layer, role, expert});
    return found == inputs_.end() ? at::Tensor() : at::cat(found->second);
  }
  at::Tensor before(int layer) const { return at::cat(before_.at(layer)); }
  at::Tensor after(int layer) const { return at::cat(after_.at(layer)); }

 private:
  std::map<std::tuple<int, Role, int>, std::vector<at::Tensor>> inputs_;
  std::map<int, std::vector<at::Tensor>> before_, after_;
};

}  // namespace prunus::test
