#include "prunus/model/matmul.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <mutex>
#include <optional>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "prunus/base/error.h"
#include "prunus/base/named.h"
#include "prunus/kernel/row_product.h"

namespace prunus {
namespace {

// Of fewer rows the calls cost more than the products.
constexpr int64_t kFewRows = 8;
constexpr double kMargin = 1.25;

constexpr int64_t kRateSize = 1024;
constexpr double kRateSeconds = 0.1;

constexpr std::pair<std::string_view, Matmul> kNames[] = {
    {"auto", Matmul::Auto}, {"mkl", Matmul::Blas}, {"onednn", Matmul::OneDnn}};

using LinearOperator = at::Tensor(const at::Tensor&, const at::Tensor&,
                                  const std::optional<at::Tensor>&, std::string_view,
                                  c10::List<std::optional<at::Scalar>>,
                                  std::optional<std::string_view>);

// oneDNN's x·Wᵀ + b, or nothing where libtorch was built without it.
const c10::OperatorHandle* one_dnn_operator() {
  static const std::optional<c10::OperatorHandle> found = [] {
    auto handle = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    const bool usable = handle && handle->hasKernelForDispatchKey(c10::DispatchKey::CPU);
    return usable ? handle : std::nullopt;
  }();
  return found ? &*found : nullptr;
}

// Rows or columns of larger matrices as matrices of their own: others oneDNN multiplies element by
// element, a hundred times slower.
at::Tensor close_together(const at::Tensor& x) {
  return x.is_contiguous() || (x.dim() == 2 && x.t().is_contiguous()) ? x : x.contiguous();
}

at::Tensor one_dnn_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  static const auto linear = one_dnn_operator()->typed<LinearOperator>();
  return linear.call(close_together(x), close_together(weight),
                     bias.defined() ? std::optional(bias) : std::nullopt, "none",
                     c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

double seconds_of(const auto& act) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  act();
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point begin = Clock::now();
    act();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

// The BLAS has its fastest kernels here, and what a busy machine measures would be chance.
bool is_intel() {
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
}

Matmul faster() {
  if (const char* wanted = std::getenv("PRUNUS_MATMUL"); wanted != nullptr) {
    const Matmul choice = parse_matmul(wanted);
    if (choice != Matmul::Auto) return choice;
  }
  if (one_dnn_operator() == nullptr || is_intel()) return Matmul::Blas;
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::full({512, 576}, 0.5F);
  const at::Tensor weight = at::full({1024, 576}, 0.25F);
  const double blas = seconds_of([&] { at::linear(x, weight); });
  const double one_dnn = seconds_of([&] { one_dnn_linear(x, weight, {}); });
  return one_dnn * kMargin < blas ? Matmul::OneDnn : Matmul::Blas;
}

// By the processor's kind and not by a measurement: results differ in BF16's last bits, and must
// not do so from run to run on a busy machine.
bool has_units_for(at::ScalarType type) {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0, extended = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool amx_bf16 = (d >> 22 & 1U) != 0;
  if (__get_cpuid_count(7, 1, &extended, &b, &c, &d) == 0) extended = 0;
  const bool avx512_bf16 = (extended >> 5 & 1U) != 0, amx_fp16 = (extended >> 21 & 1U) != 0;
  if (type == at::kHalf) return amx_fp16;
  return amx_bf16 || (avx512_bf16 && !is_intel());
#else
  static_cast<void>(type);
  return true;
#endif
}

bool slower_than_float(at::ScalarType type) {
  if (const char* wanted = std::getenv("PRUNUS_HALF"); wanted != nullptr && *wanted != '\0') {
    constexpr std::pair<std::string_view, bool> kWays[] = {{"native", false}, {"widen", true}};
    return parse_named(kWays, wanted, "PRUNUS_HALF");
  }
  return !has_units_for(type);
}

std::atomic<Matmul> chosen = Matmul::Auto;

bool by_one_dnn(const at::Tensor& like, int64_t rows) {
  return rows >= kFewRows && like.is_cpu() && like.scalar_type() == at::kFloat &&
         used_matmul() == Matmul::OneDnn;
}

int64_t rows_of(const at::Tensor& x) { return x.dim() < 2 ? 1 : x.numel() / x.size(-1); }

at::Tensor half_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// With gradients: oneDNN's product has none of its own, and those of libtorch's for halves are as
// slow as its forward one.
class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
    const bool to_weight = weight.requires_grad();
    context->save_for_backward({to_weight ? x : at::Tensor(), weight});
    context->saved_data["bias"] = bias.has_value();
    const at::Tensor added = bias.value_or(at::Tensor());
    return weight.element_size() == 2 ? half_linear(x, weight, added)
                                      : one_dnn_linear(x, weight, added);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor grad = grads[0].flatten(0, -2);
    at::Tensor to_x, to_weight, to_bias;
    if (context->needs_input_grad(0)) {
      std::vector<int64_t> sizes = grads[0].sizes().vec();
      sizes.back() = weight.size(1);
      to_x = product(grad, weight).view(sizes);
    }
    if (context->needs_input_grad(1)) to_weight = product(grad.t(), x.flatten(0, -2));
    const bool bias = context->saved_data["bias"].toBool();
    if (bias && context->needs_input_grad(2)) to_bias = grad.sum(0);
    return {to_x, to_weight, to_bias};
  }
};

}  // namespace

Matmul parse_matmul(std::string_view name) { return parse_named(kNames, name, "--matmul"); }

std::string_view name_of_matmul(Matmul choice) { return name_of(kNames, choice); }

void choose_matmul(Matmul choice) {
  PRUNUS_CHECK(choice != Matmul::OneDnn || one_dnn_operator() != nullptr, Unsupported,
               "--matmul onednn: this libtorch was built without oneDNN; use auto or mkl");
  chosen = choice;
}

Matmul chosen_matmul() { return chosen; }

Matmul used_matmul() {
  if (const Matmul now = chosen; now != Matmul::Auto) return now;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (chosen == Matmul::Auto) {
    static const Matmul measured = faster();
    chosen = measured;
  }
  return chosen;
}

bool widens_halves(const at::Tensor& operand) {
  const at::ScalarType type = operand.scalar_type();
  if (!operand.is_cpu() || (type != at::kBFloat16 && type != at::kHalf)) return false;
  static const bool brain = slower_than_float(at::kBFloat16);
  static const bool half = slower_than_float(at::kHalf);
  return type == at::kHalf ? half : brain;
}

std::string_view name_of_half_products() {
  return widens_halves(at::empty({1}, at::kBFloat16)) ? "float32" : "native";
}

namespace {

// Runs `multiply`, which makes a matrix of two kSize matrices, for a tenth of a second.
template <typename Multiply>
double flops_of(const Multiply& multiply) {
  const auto wait = [](const at::Tensor& c) { return c[0][0].to(at::kFloat).item<float>(); };
  wait(multiply());
  const auto begin = std::chrono::steady_clock::now();
  double seconds = 0;
  int64_t products = 0;
  while (seconds < kRateSeconds) {
    wait(multiply());
    ++products;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return static_cast<double>(products) * 2 * kRateSize * kRateSize * kRateSize / seconds;
}

}  // namespace

double measure_matmul_flops(at::Device device, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto rate_in = [&](at::ScalarType type) {
    const at::Tensor a = at::ones({kRateSize, kRateSize}, at::device(device).dtype(type));
    at::Tensor c = at::empty_like(a);
    return flops_of([&] { return at::mm_out(c, a, a); });
  };
  double rate = rate_in(dtype);
  if (!device.is_cpu() || dtype == at::kDouble) return rate;
  if (dtype != at::kFloat) rate = std::max(rate, rate_in(at::kFloat));
  if (one_dnn_operator() != nullptr) {
    const at::Tensor a = at::ones({kRateSize, kRateSize});
    rate = std::max(rate, flops_of([&] { return one_dnn_linear(a, a, {}); }));
  }
  return rate;
}

namespace {

// With a weight of two bytes, without gradients.
at::Tensor half_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (rows_of(x) <= kernel::kMostRows && kernel::takes_row_product(weight)) {
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes.back() = weight.size(0);
    at::Tensor y = at::empty(sizes, weight.options());
    kernel::row_product(x.reshape({-1, weight.size(1)}), weight, bias, y);
    return y;
  }
  const at::Tensor input = x.to(weight.scalar_type());
  if (!widens_halves(weight)) {
    return bias.defined() ? at::linear(input, weight, bias) : at::linear(input, weight);
  }
  const at::Tensor wide = bias.defined() ? bias.to(at::kFloat) : bias;
  return apply_linear(input.to(at::kFloat), weight.to(at::kFloat), wide).to(weight.scalar_type());
}

}  // namespace

at::Tensor apply_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool plain = !at::GradMode::is_enabled() || !(x.requires_grad() || weight.requires_grad());
  if (plain && weight.is_cpu() && weight.element_size() == 2 && x.size(-1) == weight.size(1)) {
    return half_linear(x, weight, bias);
  }
  const at::Tensor input = x.to(weight.scalar_type());
  if (by_one_dnn(input, rows_of(input)) || widens_halves(weight)) {
    const bool graph =
        at::GradMode::is_enabled() && (input.requires_grad() || weight.requires_grad() ||
                                       (bias.defined() && bias.requires_grad()));
    if (!graph && weight.element_size() != 2) return one_dnn_linear(input, weight, bias);
    return Linear::apply(input, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  }
  return bias.defined() ? at::linear(input, weight, bias) : at::linear(input, weight);
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (widens_halves(a)) return product(a.to(at::kFloat), b.to(at::kFloat)).to(a.scalar_type());
  return by_one_dnn(a, a.size(0)) ? one_dnn_linear(a, b.t(), {}) : at::mm(a, b);
}

at::Tensor second_moments(const at::Tensor& x) {
  constexpr int64_t kBlock = 256;
  const int64_t n = x.size(1);
  // Rows that follow each other: of others oneDNN's products may be its reference ones, 20 times
  // as slow.
  const at::Tensor channels = by_one_dnn(x, n) ? x.t().contiguous() : x.t();
  at::Tensor sum = at::empty({n, n}, x.options());
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t rows = std::min(kBlock, n - begin);
    const int64_t behind = n - begin - rows;
    const at::Tensor some = channels.narrow(0, begin, rows);
    const at::Tensor square = product(some, some.t());
    sum.narrow(0, begin, rows).narrow(1, begin, rows).copy_((square + square.t()).mul_(0.5));
    if (behind == 0) continue;
    const at::Tensor rest = product(some, channels.narrow(0, begin + rows, behind).t());
    sum.narrow(0, begin, rows).narrow(1, begin + rows, behind).copy_(rest);
    sum.narrow(0, begin + rows, behind).narrow(1, begin, rows).copy_(rest.t());
  }
  return sum;
}

void product_out(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  if (out.scalar_type() == a.scalar_type() && !widens_halves(a) && !by_one_dnn(a, a.size(0))) {
    at::mm_out(out, a, b);
  } else {
    out.copy_(product(a, b));
  }
}

void add_product(at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  if (sum.scalar_type() == a.scalar_type() && !widens_halves(a) && !by_one_dnn(a, a.size(0))) {
    sum.addmm_(a, b);
  } else {
    sum.add_(product(a, b));
  }
}

}  // namespace prunus
