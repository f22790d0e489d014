#pragma once
// One body, compiled for every level of instructions (base/cpu.h), chosen at run time.
#include "prunus/base/cpu.h"

namespace prunus::kernel {

#if defined(__x86_64__)
/// Body<16>::run(…) with AVX-512, Body<8>::run(…) with AVX2; `run` has to be always inlined.
template <template <int kLanes> class Body, typename... Arguments>
__attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c"))) void run_avx512(
    Arguments... arguments) {
  Body<16>::run(arguments...);
}
template <template <int kLanes> class Body, typename... Arguments>
__attribute__((target("avx2,fma,f16c"))) void run_avx2(Arguments... arguments) {
  Body<8>::run(arguments...);
}
#endif

/// Arguments are plain numbers and pointers: vectors of one level mean nothing to another.
template <template <int kLanes> class Body, typename... Arguments>
void run_at(CpuLevel level, Arguments... arguments) {
#if defined(__x86_64__)
  if (level >= CpuLevel::Avx512) return run_avx512<Body>(arguments...);
  if (level == CpuLevel::Avx2) return run_avx2<Body>(arguments...);
#endif
  static_cast<void>(level);
  Body<4>::run(arguments...);
}

}  // namespace prunus::kernel
