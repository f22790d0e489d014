#include "prunus/base/rng.h"

#include <array>
#include <bit>
#include <sstream>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr size_t kWords = 624;

// mt19937ar's init_by_array: state words from a key of one or more 32-bit digits.
std::array<uint32_t, kWords> init_by_array(const std::vector<uint32_t>& key) {
  std::array<uint32_t, kWords> state{};
  state[0] = 19650218U;
  for (uint32_t i = 1; i < kWords; ++i) {
    state[i] = 1812433253U * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
  }
  uint32_t i = 1;
  uint32_t j = 0;
  const auto advance = [&] {
    if (++i >= kWords) {
      state[0] = state[kWords - 1];
      i = 1;
    }
  };
  const auto mixed = [&](uint32_t factor) {
    return state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * factor);
  };
  for (size_t k = std::max(kWords, key.size()); k > 0; --k) {
    state[i] = mixed(1664525U) + key[j] + j;
    advance();
    j = (j + 1) % static_cast<uint32_t>(key.size());
  }
  for (size_t k = kWords - 1; k > 0; --k) {
    state[i] = mixed(1566083941U) - i;
    advance();
  }
  state[0] = 0x80000000U;
  return state;
}

}  // namespace

PythonRandom::PythonRandom(uint64_t seed) {
  std::vector<uint32_t> key{static_cast<uint32_t>(seed)};
  if (seed >> 32) key.push_back(static_cast<uint32_t>(seed >> 32));
  // std::mt19937 takes its state as text. libstdc++ writes the words, then the position; at
  // position 624 the next draw regenerates the block, as after seeding.
  std::ostringstream text;
  for (const uint32_t word : init_by_array(key)) text << word << ' ';
  text << kWords;
  std::istringstream(text.str()) >> engine_;
}

double PythonRandom::uniform() {
  const uint32_t high = next32() >> 5;
  const uint32_t low = next32() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

uint64_t PythonRandom::below(uint64_t n) {
  PRUNUS_CHECK(n >= 1 && n <= (uint64_t{1} << 32), InvalidArgument, "below: n = ", n,
               ", expected 1 to 2^32");
  const int bits = static_cast<int>(std::bit_width(n));
  while (true) {
    // getrandbits: up to 32 bits from one word, the 33rd (n = 2^32) from a second.
    uint64_t value = bits <= 32 ? next32() >> (32 - bits) : next32();
    if (bits > 32) value |= static_cast<uint64_t>(next32() >> (64 - bits)) << 32;
    if (value < n) return value;
  }
}

uint64_t splitmix64(uint64_t seed, uint64_t index) {
  uint64_t z = seed + 0x9E3779B97F4A7C15ULL * (index + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace prunus
