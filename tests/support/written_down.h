#pragma once
#include <memory>
#include <string>
#include <vector>

#include "prunus/model/weights.h"

namespace prunus::test {

/// Writes down what is asked of it, a layer once in a row: "p1" read ahead, "r0" read, "f0" given
/// back.
class WrittenDown : public WeightSource {
 public:
  explicit WrittenDown(std::shared_ptr<const WeightSource> inner) : inner_(std::move(inner)) {}
  mutable std::vector<std::string> calls;

  at::Tensor read(const TensorInfo& tensor) const override {
    note("r", tensor);
    return inner_->read(tensor);
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override { return inner_->dtype(tensor); }
  void prefetch(const TensorInfo& tensor) const override { note("p", tensor); }
  void release(const TensorInfo& tensor) const override { note("f", tensor); }

 private:
  void note(const char* what, const TensorInfo& tensor) const {
    const std::string call = what + std::to_string(tensor.layer);
    if (calls.empty() || calls.back() != call) calls.push_back(call);
  }
  std::shared_ptr<const WeightSource> inner_;
};

}  // namespace prunus::test
