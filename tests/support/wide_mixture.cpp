#include "support/wide_mixture.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/lm_head.h"

namespace prunus::test {

at::Tensor WideHook::linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias) {
  inputs[role] = input.detach();
  return bias.defined() ? at::linear(input, weight, bias) : at::linear(input, weight);
}

std::map<std::pair<int, Role>, at::Tensor> wide_gradients(const Model& model,
                                                          const at::Tensor& ids) {
  std::vector<BlockWeights> blocks;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    blocks.push_back(model.load_block(layer, at::kCPU));
    for (int role = 0; role < kRoleCount; ++role) {
      at::Tensor& weight = blocks.back()[static_cast<Role>(role)];
      if (weight.defined()) weight = weight.clone().requires_grad_(true);
    }
  }
  const Decoder decoder(model.config());
  at::Tensor hidden = embed(model, ids, at::kCPU);
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    WideHook wide;
    const at::AutoGradMode on(true);
    hidden = decoder.block(layer, blocks[static_cast<size_t>(layer)], hidden, &wide);
  }
  const int64_t last = ids.size(1) - 1;
  const at::Tensor targets = ids.narrow(1, 1, last).flatten();
  at::Tensor grad = at::zeros_like(hidden);
  {
    const at::NoGradGuard no_grad;
    const auto loss = LmHead(model, at::kCPU)
                          .loss_and_gradient(hidden.narrow(1, 0, last).flatten(0, 1), targets,
                                             1.0 / static_cast<double>(targets.numel()));
    grad.narrow(1, 0, last).copy_(loss.grad_hidden.view({ids.size(0), last, -1}));
  }
  hidden.backward(grad);
  std::map<std::pair<int, Role>, at::Tensor> gradients;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    for (int role = 0; role < kRoleCount; ++role) {
      const at::Tensor& weight = blocks[static_cast<size_t>(layer)][static_cast<Role>(role)];
      if (weight.defined() && weight.dim() == 2) {
        gradients[{layer, static_cast<Role>(role)}] = weight.grad();
      }
    }
  }
  return gradients;
}

}  // namespace prunus::test
