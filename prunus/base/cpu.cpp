#include "prunus/base/cpu.h"

#include <cstdlib>
#include <utility>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, CpuLevel> kLevels[] = {{"portable", CpuLevel::Portable},
                                                             {"avx2", CpuLevel::Avx2},
                                                             {"avx512", CpuLevel::Avx512},
                                                             {"avx512vbmi", CpuLevel::Avx512Vbmi},
                                                             {"avx512bf16", CpuLevel::Avx512Bf16}};

CpuLevel machine_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  const bool vbmi =
      avx512 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
      __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vpopcntdq") &&
      __builtin_cpu_supports("avx512vnni");
  if (vbmi && __builtin_cpu_supports("avx512bf16")) return CpuLevel::Avx512Bf16;
  if (vbmi) return CpuLevel::Avx512Vbmi;
  if (avx512) return CpuLevel::Avx512;
  if (avx2) return CpuLevel::Avx2;
#endif
  return CpuLevel::Portable;
}

CpuLevel wanted_level() {
  const CpuLevel has = machine_level();
  const char* name = std::getenv("PRUNUS_CPU");
  if (name == nullptr || *name == '\0') return has;
  const CpuLevel wanted = parse_named(kLevels, name, "PRUNUS_CPU");
  PRUNUS_CHECK(wanted <= has, InvalidArgument, "PRUNUS_CPU=", name, ": this machine has ",
               name_of_cpu_level(has), " at most");
  return wanted;
}

}  // namespace

CpuLevel cpu_level() {
  static const CpuLevel level = wanted_level();
  return level;
}

std::vector<CpuLevel> cpu_levels() {
  std::vector<CpuLevel> levels;
  for (int level = static_cast<int>(cpu_level()); level >= 0; --level) {
    levels.push_back(static_cast<CpuLevel>(level));
  }
  return levels;
}

std::string_view name_of_cpu_level(CpuLevel level) { return name_of(kLevels, level); }

}  // namespace prunus
