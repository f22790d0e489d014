#pragma once
#include <string_view>
#include <vector>

namespace prunus {

/// Which instructions Prunus's own kernels may use. What libtorch uses is its own choice
/// (ATEN_CPU_CAPABILITY).
enum class CpuLevel {
  Portable,    ///< plain C++
  Avx2,        ///< AVX2, FMA, F16C
  Avx512,      ///< AVX-512 F, BW, VL besides
  Avx512Vbmi,  ///< AVX-512 VBMI, VBMI2, BITALG, VPOPCNTDQ, VNNI besides (Ice Lake, Zen 4)
  Avx512Bf16,  ///< AVX-512 BF16 besides (Sapphire Rapids, Zen 4)
};

/// The highest level of this machine, or, where the environment variable PRUNUS_CPU names a lower
/// one (portable, avx2, avx512, avx512vbmi, avx512bf16), that one. Read once a process. Throws
/// InvalidArgument for other words, and for a level that the machine has not.
CpuLevel cpu_level();

/// All levels of this machine up to cpu_level(), the highest first: for tests of every kernel.
std::vector<CpuLevel> cpu_levels();

std::string_view name_of_cpu_level(CpuLevel level);

}  // namespace prunus
