#pragma once
#include <map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/decoder.h"

namespace prunus::test {

/// Runs mixtures in the slow plain form: all experts on all tokens, as one part as wide as all of
/// them together whose inner channels are multiplied by their expert's share. Keeps what enters
/// each product.
class WideHook : public LinearHook {
 public:
  Experts experts() const override { return Experts::Joined; }
  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) override;

  std::map<Role, at::Tensor> inputs;
};

/// Every matrix of every layer with the gradient of the mean next-token loss of ids int64
/// [batch, seq], by autograd through the whole model with mixtures in the wide form.
std::map<std::pair<int, Role>, at::Tensor> wide_gradients(const Model& model,
                                                          const at::Tensor& ids);

}  // namespace prunus::test
