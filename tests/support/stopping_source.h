#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "prunus/model/weights.h"

namespace prunus::test {

/// Thrown in place of a Ctrl-C.
struct Stop {};

/// Another source that notes the layer of every read (−1: outside the layers), and can stop the
/// program once at one of them.
class StoppingSource : public WeightSource {
 public:
  explicit StoppingSource(std::shared_ptr<const WeightSource> inner) : inner_(std::move(inner)) {}
  mutable std::vector<int> layers;
  mutable int64_t reads_left = int64_t{1} << 40;  ///< 0: the next read calls `stop`
  std::function<void()> stop = [] { throw Stop(); };

  at::Tensor read(const TensorInfo& tensor) const override {
    if (reads_left-- == 0) stop();
    layers.push_back(tensor.layer);
    return inner_->read(tensor);
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override { return inner_->dtype(tensor); }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}

 private:
  std::shared_ptr<const WeightSource> inner_;
};

}  // namespace prunus::test
