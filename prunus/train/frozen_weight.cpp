#include "prunus/train/frozen_weight.h"

#include <optional>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "prunus/base/error.h"
#include "prunus/model/matmul.h"

namespace prunus {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Fresh pages for every converted weight would cost more than the conversion: one buffer serves all
// of them, since each is used up by one matrix product.
at::Tensor scratch(c10::IntArrayRef shape, const at::TensorOptions& options) {
  if (!options.device().is_cpu()) return at::empty(shape, options);
  thread_local at::Tensor memory;
  const int64_t needed = c10::multiply_integers(shape);
  if (!memory.defined() || memory.numel() < needed || memory.dtype() != options.dtype()) {
    memory.reset();
    memory = at::empty({needed}, options);
  }
  return memory.narrow(0, 0, needed).view(shape);
}

void dequantise(const at::Tensor& data, const at::Tensor& scales, bool sparse,
                const at::Tensor& result) {
  const int64_t block = FrozenWeight::kInt8Block;
  const int64_t whole = data.size(1) / block * block;
  at::Tensor target = result;
  target.copy_(data);
  if (sparse) target.masked_fill_(data == FrozenWeight::kRoundedToZero, 0);
  if (whole > 0) {
    at::Tensor blocks = target.narrow(1, 0, whole).unflatten(1, {-1, block});
    blocks.mul_(scales.narrow(1, 0, whole / block).unsqueeze(2));
  }
  if (whole < data.size(1)) {
    target.narrow(1, whole, data.size(1) - whole).mul_(scales.narrow(1, whole / block, 1));
  }
}

// sparse: an INT8 weight may hold kRoundedToZero.
at::Tensor dense_of(const at::Tensor& data, const at::Tensor& scales, bool sparse,
                    at::ScalarType dtype) {
  if (!scales.defined() && data.scalar_type() == dtype) return data;
  at::Tensor result = scratch(data.sizes(), data.options().dtype(dtype));
  if (scales.defined()) {
    dequantise(data, scales, sparse, result);
  } else {
    result.copy_(data);
  }
  return result;
}

// 1/(1 − p) where kept, 0 elsewhere.
at::Tensor dropout_mask(const at::Tensor& like, double share, uint64_t seed) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  at::Tensor mask = at::empty(like.sizes(), like.options().device(at::kCPU));
  mask.bernoulli_(1 - share, generator).div_(1 - share);
  return mask.to(like.device());
}

}  // namespace

class AdaptedLinear : public torch::autograd::Function<AdaptedLinear> {
 public:
  using Maybe = std::optional<at::Tensor>;  // apply() takes no undefined tensors

  // x [tokens, in] in the dtype of the products.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& data,
                            const Maybe& maybe_scales, const Maybe& maybe_bias,
                            const Maybe& maybe_a, const Maybe& maybe_b, double scale,
                            const Maybe& maybe_mask, bool masked) {
    const at::Tensor scales = maybe_scales.value_or(at::Tensor());
    const at::Tensor bias = maybe_bias.value_or(at::Tensor());
    const at::Tensor a = maybe_a.value_or(at::Tensor());
    const at::Tensor b = maybe_b.value_or(at::Tensor());
    const at::Tensor mask = maybe_mask.value_or(at::Tensor());
    const at::NoGradGuard no_grad;
    context->saved_data["data"] = data;
    context->saved_data["scales"] = scales;
    context->saved_data["scale"] = scale;
    context->saved_data["masked"] = masked;
    const at::Tensor weight = dense_of(data, scales, masked, x.scalar_type());
    const bool adapted = a.defined();
    at::Tensor h;
    at::Tensor y;
    if (adapted && masked) {
      y = product(x, weight.t());
      prunus::add_product(y, dropped(x, mask),
                          masked_update(data, a, b, scale).to(x.scalar_type()).t());
      if (bias.defined()) y.add_(bias);
    } else {
      y = apply_linear(x, weight, bias.defined() ? bias.to(x.scalar_type()) : bias);
      if (adapted) {
        h = product(dropped(x, mask), a.to(x.scalar_type()).t()).mul_(scale);
        prunus::add_product(y, h, b.to(x.scalar_type()).t());
      }
    }
    context->save_for_backward({adapted ? x : at::Tensor(), h, a, b, mask});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::NoGradGuard no_grad;
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &h = saved[1], &a = saved[2], &b = saved[3], &mask = saved[4];
    const at::Tensor grad = grads[0].contiguous();
    const double scale = context->saved_data["scale"].toDouble();
    const bool masked = context->saved_data["masked"].toBool();
    const bool need_input = context->needs_input_grad(0);
    const at::Tensor data = context->saved_data["data"].toTensor();
    const at::Tensor weight =
        dense_of(data, context->saved_data["scales"].toTensor(), masked, grad.scalar_type());
    at::Tensor grad_x = need_input ? product(grad, weight) : at::Tensor();
    at::Tensor grad_a, grad_b;
    if (a.defined() && masked) {
      at::Tensor full = product(grad.t(), dropped(x, mask)).mul_(data != 0).to(a.dtype());
      grad_a = product(b.t(), full).mul_(scale);
      grad_b = product(full, a.t()).mul_(scale);
      if (need_input) {
        const at::Tensor update = masked_update(data, a, b, scale).to(grad.scalar_type());
        add_dropped(grad_x, product(grad, update), mask);
      }
    } else if (a.defined()) {
      const at::Tensor down = product(grad, b.to(grad.dtype())).mul_(scale);
      grad_a = product(down.t(), dropped(x, mask)).to(a.dtype());
      grad_b = product(grad.t(), h).to(b.dtype());
      if (need_input) add_product(grad_x, down, a.to(grad.dtype()), mask);
    }
    return {grad_x, {}, {}, {}, grad_a, grad_b, {}, {}, {}};
  }

 private:
  static at::Tensor dropped(const at::Tensor& x, const at::Tensor& mask) {
    return mask.defined() ? x * mask : x;
  }
  static void add_dropped(at::Tensor& total, const at::Tensor& part, const at::Tensor& mask) {
    if (mask.defined()) {
      total.addcmul_(part, mask);
    } else {
      total.add_(part);
    }
  }
  static void add_product(at::Tensor& total, const at::Tensor& left, const at::Tensor& right,
                          const at::Tensor& mask) {
    if (mask.defined()) {
      total.addcmul_(product(left, right), mask);
    } else {
      prunus::add_product(total, left, right);
    }
  }
  // By the stored data: a product's dtype may round small weights to zero.
  static at::Tensor masked_update(const at::Tensor& data, const at::Tensor& a, const at::Tensor& b,
                                  double scale) {
    return product(b, a).mul_(scale).mul_(data != 0);
  }
};

FrozenWeight FrozenWeight::stored(at::Tensor weight) {
  FrozenWeight frozen;
  frozen.data_ = std::move(weight);
  return frozen;
}

FrozenWeight FrozenWeight::int8(const at::Tensor& weight, bool sparse) {
  const int64_t columns = weight.size(1);
  const int64_t blocks = (columns + kInt8Block - 1) / kInt8Block;
  FrozenWeight frozen;
  frozen.sparse_ = sparse;
  frozen.data_ = at::empty(weight.sizes(), weight.options().dtype(at::kChar));
  frozen.scales_ = at::empty({weight.size(0), blocks}, weight.options().dtype(at::kFloat));
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t begin = i * kInt8Block;
    const int64_t count = std::min(kInt8Block, columns - begin);
    const at::Tensor part = weight.narrow(1, begin, count).to(at::kFloat);
    const at::Tensor scale = part.abs().amax(1, true).div_(127);
    frozen.scales_.narrow(1, i, 1).copy_(scale);
    const at::Tensor divisor = at::where(scale > 0, scale, at::ones_like(scale));
    at::Tensor levels = (part / divisor).round_();
    if (sparse) levels.masked_fill_((levels == 0).logical_and_(part != 0), kRoundedToZero);
    frozen.data_.narrow(1, begin, count).copy_(levels);
  }
  return frozen;
}

int64_t FrozenWeight::bytes() const {
  const auto size = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.numel() * static_cast<int64_t>(tensor.element_size()) : 0;
  };
  return size(data_) + size(scales_);
}

at::Tensor FrozenWeight::dense(at::ScalarType dtype) const {
  return dense_of(data_, scales_, sparse_, dtype);
}

at::Tensor adapted_linear(const at::Tensor& input, const FrozenWeight& weight,
                          const at::Tensor& bias, const LoraPair* pair,
                          const AdaptedLinearOptions& options) {
  TORCH_INTERNAL_ASSERT(options.masked || !weight.sparse());
  const at::Tensor x = input.reshape({-1, input.size(-1)}).to(options.compute);
  at::Tensor a, b, mask;
  double scale = 1;
  if (pair != nullptr) {
    a = pair->a;
    b = pair->b;
    scale = pair->scale;
    if (options.dropout > 0) mask = dropout_mask(x, options.dropout, options.dropout_seed);
  }
  const auto maybe = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
  };
  const at::Tensor y = AdaptedLinear::apply(x, weight.data(), maybe(weight.scales()), maybe(bias),
                                            maybe(a), maybe(b), scale, maybe(mask), options.masked);
  std::vector<int64_t> shape = input.sizes().vec();
  shape.back() = y.size(1);
  return y.view(shape);
}

}  // namespace prunus
