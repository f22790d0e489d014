#pragma once
#include <cstdint>
#include <random>
#include <vector>

namespace prunus {

/// The generator of CPython's `random` module: MT19937 seeded by init_by_array with the 32-bit
/// digits of the seed, so that a published Python recipe draws the same numbers here.
/// Source: M. Matsumoto & T. Nishimura, mt19937ar (2002); CPython Modules/_randommodule.c.
class PythonRandom {
 public:
  /// As random.seed(seed) for a non-negative int.
  explicit PythonRandom(uint64_t seed);

  /// Uniform 32 bits, as random.getrandbits(32).
  uint32_t next32() { return static_cast<uint32_t>(engine_()); }
  /// Uniform in [0, 1) with 53 bits, as random.random().
  double uniform();
  /// Uniform integer in [0, n), as random.randrange(n). n in [1, 2^32].
  uint64_t below(uint64_t n);
  /// Shuffles in place, as random.shuffle.
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[below(i + 1)]);
  }

 private:
  std::mt19937 engine_;
};

/// Number `index` of the sequence with this seed: neighbouring seeds and indices give unrelated
/// numbers. Source: splitmix64, Steele, Lea & Flood, OOPSLA 2014.
uint64_t splitmix64(uint64_t seed, uint64_t index = 0);

}  // namespace prunus
