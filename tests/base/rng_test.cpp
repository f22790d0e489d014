#include "prunus/base/rng.h"

#include <numeric>

#include <gtest/gtest.h>

#include "prunus/base/error.h"

namespace prunus::rng_test {
namespace {

// Expected values: CPython 3.11, random.Random(seed) anew for every row.
struct Expected {
  uint64_t seed;
  std::vector<uint32_t> words;   // getrandbits(32)
  std::vector<double> uniforms;  // random()
  std::vector<uint64_t> below;   // randrange of 1, 2, 10, 1000, 2^31, 2^32 - 1, 2^32
  std::vector<int> shuffled;     // shuffle(list(range(10)))
  uint32_t word_2000;            // the 2000th getrandbits(32): three blocks further
};

const Expected kExpected[] = {
    {0,
     {3626764237, 1654615998, 3255389356, 3823568514},
     {0.8444218515250481, 0.7579544029403025, 0.420571580830845},
     {0, 1, 0, 265, 2087043557, 1739178872, 3564191072},
     {7, 8, 1, 5, 3, 4, 2, 0, 9, 6},
     3908016617},
    {42,
     {2746317213, 478163327, 107420369, 3184935163},
     {0.6394267984578837, 0.025010755222666936, 0.27502931836911926},
     {0, 0, 4, 250, 958682846, 599310825, 3163119785},
     {7, 3, 2, 8, 5, 6, 9, 4, 0, 1},
     1557724698},
    {(uint64_t{1} << 40) + 7,
     {2635837658, 3209733218, 3500038837, 4028389051},
     {0.6137037779936511, 0.8149162973309487, 0.9450115087592873},
     {0, 1, 9, 129, 1611772094, 2239120350, 3091373771},
     {0, 5, 2, 3, 6, 1, 8, 4, 7, 9},
     1220598206},
};

TEST(PythonRandom, DrawsTheNumbersOfCPython) {
  constexpr uint64_t kRanges[] = {1, 2, 10, 1000, 2147483648, 4294967295, 4294967296};
  for (const auto& expected : kExpected) {
    PythonRandom words(expected.seed);
    for (const uint32_t word : expected.words) EXPECT_EQ(words.next32(), word);
    PythonRandom uniforms(expected.seed);
    for (const double uniform : expected.uniforms) EXPECT_EQ(uniforms.uniform(), uniform);
    PythonRandom below(expected.seed);
    for (size_t i = 0; i < 7; ++i) EXPECT_EQ(below.below(kRanges[i]), expected.below[i]);
    PythonRandom far(expected.seed);
    for (int i = 0; i < 1999; ++i) far.next32();
    EXPECT_EQ(far.next32(), expected.word_2000);
  }
}

TEST(PythonRandom, ShufflesAsCPython) {
  for (const auto& expected : kExpected) {
    std::vector<int> items(10);
    std::iota(items.begin(), items.end(), 0);
    PythonRandom(expected.seed).shuffle(items);
    EXPECT_EQ(items, expected.shuffled);
  }
  std::vector<int> none;
  PythonRandom(0).shuffle(none);
  EXPECT_TRUE(none.empty());
}

TEST(PythonRandom, RefusesRangesItCannotDrawFrom) {
  EXPECT_THROW(PythonRandom(0).below(0), Error);
  EXPECT_THROW(PythonRandom(0).below((uint64_t{1} << 32) + 1), Error);
}

// The published sequence of seed 1234567 (Vigna's splitmix64.c), as many languages test it.
TEST(Splitmix64, GivesThePublishedSequence) {
  const std::vector<uint64_t> expected = {6457827717110365317ULL, 3203168211198807973ULL,
                                          9817491932198370423ULL, 4593380528125082431ULL,
                                          16408922859458223821ULL};
  for (uint64_t i = 0; i < expected.size(); ++i) EXPECT_EQ(splitmix64(1234567, i), expected[i]);
}

}  // namespace
}  // namespace prunus::rng_test
