#pragma once
#include <string_view>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace prunus {

/// Which library multiplies FP32 matrices on a CPU. Both are in libtorch and both are strict FP32:
/// no operand is rounded to a shorter type, on machines with matrix units for BF16 either.
enum class Matmul {
  Auto,    ///< what a short measurement finds faster
  Blas,    ///< the BLAS that libtorch was built with: MKL in the wheels, OpenBLAS elsewhere
  OneDnn,  ///< oneDNN: up to twice as fast as MKL on AMD, where MKL keeps to AVX2
};

/// "auto", "mkl" (the BLAS, whichever it is), "onednn". Throws InvalidArgument for others.
Matmul parse_matmul(std::string_view name);
std::string_view name_of_matmul(Matmul choice);

/// For all products of the process from now on. Throws Unsupported where oneDNN is asked for and
/// this libtorch has none.
void choose_matmul(Matmul choice);

/// Auto where nothing has been multiplied yet.
Matmul chosen_matmul();

/// What is used: Blas or OneDnn. Where nothing or Auto was chosen, the first call decides, once a
/// process: by the environment variable PRUNUS_MATMUL; else Blas on Intel's processors; else both
/// are measured on this process's threads, about 50 ms, and oneDNN has to be faster by a quarter,
/// so that runs on one machine do not differ: their last bits would.
Matmul used_matmul();

/// Whether products of these operands, BF16 or F16 on a CPU, are faster by FP32's, to which their
/// values are widened and which the result is rounded from: on machines whose units for the type
/// are missing, or slower than those for FP32. By the processor's kind: BF16 has such units with
/// AMX, and with AVX512-BF16 on AMD (on a Xeon without AMX these do 154 GFLOP/s beside FP32's 257),
/// F16 with AMX-FP16; on other architectures libtorch is left to it. The sums are FP32 in either
/// case, in another order. PRUNUS_HALF=native|widen decides instead.
bool widens_halves(const at::Tensor& operand);

/// How BF16 products of a CPU are computed, for records: "float32" where they are widened,
/// "native".
std::string_view name_of_half_products();

/// Operations a second (multiplications and additions) of the fastest product of two matrices of
/// 1024 × 1024 that this machine does in `dtype` or, on a CPU, in FP32, over the libraries at hand:
/// what shares of it (MFU) refer to. Takes a quarter of a second.
double measure_matmul_flops(at::Device device, at::ScalarType dtype);

/// y = x·Wᵀ + b. x [..., in] is brought to the weight's dtype, which is that of y [..., out];
/// of a few rows and a BF16 or F16 weight by kernel/row_product, which need not round x. weight
/// [out, in], of any strides; bias [out] or undefined. Carries gradients.
at::Tensor apply_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// a·b of matrices of one dtype, [m, k] and [k, n], of any strides. Carries no gradients.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);
/// xᵀ·x of x [tokens, n], as product(), symmetric to the last bit: one triangle is computed, by
/// blocks, which takes less than two thirds of the arithmetic where n is large.
at::Tensor second_moments(const at::Tensor& x);
/// out = a·b, of out's dtype.
void product_out(at::Tensor& out, const at::Tensor& a, const at::Tensor& b);
/// sum += a·b, likewise.
void add_product(at::Tensor& sum, const at::Tensor& a, const at::Tensor& b);

}  // namespace prunus
